//! Command lines for people to copy.

use std::ffi::OsString;

/// The command line of this process, each word quoted where a shell would take it apart.
pub(super) fn own() -> String {
    let words: Vec<String> = std::env::args_os().map(lossy).collect();
    line(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn lossy(word: OsString) -> String {
    word.to_string_lossy().into_owned()
}

/// Words as one line that a POSIX shell takes apart into them.
pub(super) fn line(words: &[&str]) -> String {
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a shell needs it: as it is, or in single quotes.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let words =
            ["degrain", "--data", "a b", "", "#3", "it's", "train.beta1=0.5", "gaussian:0.1", "$HOME", "büro/x.png"];
        let wanted = r"degrain --data 'a b' '' '#3' 'it'\''s' train.beta1=0.5 gaussian:0.1 '$HOME' büro/x.png";
        assert_eq!(line(&words), wanted);
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_gives_the_words_back() {
        let words = ["a b", "it's", "#3", "$HOME `id` \"x\"", "*", "~", "a\\b", "!x", "{a,b}", "-n", "\n"];
        let script = format!("printf '%s\\0' {}", line(&words));
        let output = std::process::Command::new("sh").args(["-c", &script]).output();
        let found = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        assert_eq!(found.trim_end_matches('\0').split('\0').collect::<Vec<_>>(), words);
    }
}
