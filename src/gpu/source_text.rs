//! Changes to WGSL text that keep all else as it stands: constants bound anew, sections repeated, the workgroup size of an
//! entry point.

/// The text with each section between the lines `// repeat NAME` and `// end` written as often as `count` says. The file has
/// the copy of number 0, and is WGSL as it stands; in copy `k` the end `_0` of a word is `_k`, and the word `0u` is `ku`.
/// None where there is no such section, or one that does not end.
pub(super) fn repeat(text: &str, name: &str, count: u32) -> Option<String> {
    let begins = |line: &str| line.trim().strip_prefix("// repeat ").is_some_and(|rest| rest == name);
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n');
    let mut sections = 0;
    while let Some(line) = lines.next() {
        if !begins(line) {
            out.push_str(line);
            continue;
        }
        let mut section = String::new();
        loop {
            match lines.next()? {
                line if line.trim() == "// end" => break,
                line => section.push_str(line),
            }
        }
        (0..count).for_each(|k| push_copy(&mut out, &section, k));
        sections += 1;
    }
    (sections > 0).then_some(out)
}

/// Appends copy `k` of a section.
fn push_copy(out: &mut String, section: &str, k: u32) {
    let mut rest = section;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !is_word_character(c)).unwrap_or(rest.len());
        if word == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        match (&rest[..word], rest[..word].strip_suffix("_0")) {
            ("0u", _) => *out += &format!("{k}u"),
            (_, Some(stem)) => *out += &format!("{stem}_{k}"),
            (other, None) => out.push_str(other),
        }
        rest = &rest[word..];
    }
}

fn is_word_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii()
}

/// The text with every byte of a comment replaced by a space, so that places are the same in both.
fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut depth, mut line) = (0_usize, false);
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let pair = (byte, bytes.get(at + 1).copied().unwrap_or(0));
        let step = match pair {
            (b'/', b'/') if depth == 0 && !line => {
                line = true;
                2
            }
            // Block comments nest in WGSL.
            (b'/', b'*') if !line => {
                depth += 1;
                2
            }
            (b'*', b'/') if depth > 0 => {
                depth -= 1;
                out.extend(b"  ");
                at += 2;
                continue;
            }
            (b'\n', _) => {
                line = false;
                out.push(b'\n');
                at += 1;
                continue;
            }
            _ => 1,
        };
        if depth > 0 || line {
            out.extend(std::iter::repeat_n(b' ', step));
        } else {
            out.push(byte);
        }
        at += step;
    }
    // Comments are whole characters, so what remains is valid.
    String::from_utf8_lossy(&out).into_owned()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Where the word `word` is followed by the word `name`, as the place after `name`; words within longer ones do not count.
fn after_words<'a>(code: &'a str, word: &'a str, name: &'a str) -> impl Iterator<Item = (usize, usize)> + 'a {
    code.match_indices(word).filter_map(move |(at, _)| {
        let starts = at == 0 || !is_word(code.as_bytes()[at - 1]);
        let rest = &code[at + word.len()..];
        let trimmed = rest.trim_start();
        let gap = rest.len() - trimmed.len();
        let follows = gap > 0 && trimmed.starts_with(name);
        let ends = !trimmed.as_bytes().get(name.len()).is_some_and(|&byte| is_word(byte));
        (starts && follows && ends).then_some((at, at + word.len() + gap + name.len()))
    })
}

/// Whether a place is outside of all braces.
fn is_top_level(code: &str, at: usize) -> bool {
    let count = |brace: u8| code.as_bytes().iter().take(at).filter(|&&byte| byte == brace).count();
    count(b'{') == count(b'}')
}

/// The text with the initialiser of the top-level `const NAME = …;` (or `const NAME: TYPE = …;`) replaced; none where
/// there is no such constant. A number without a suffix takes that of the literal that it replaces.
pub(super) fn rebind(text: &str, name: &str, value: &str) -> Option<String> {
    let code = without_comments(text);
    let declared = |&(at, end): &(usize, usize)| {
        let next = code[end..].trim_start().as_bytes().first().copied();
        matches!(next, Some(b':' | b'=')) && is_top_level(&code, at)
    };
    let (_, after_name) = after_words(&code, "const", name).find(declared)?;
    let equals = after_name + code[after_name..].find('=')?;
    let end = equals + code[equals..].find(';')?;
    let suffix = suffix(code[equals + 1..end].trim());
    let suffix = if value.parse::<f64>().is_ok() { suffix } else { "" };
    Some(format!("{}= {value}{suffix}{}", &text[..equals], &text[end..]))
}

/// The type suffix of a decimal literal.
fn suffix(literal: &str) -> &str {
    let number = literal.trim_end_matches(['u', 'i', 'f', 'h']);
    if number.parse::<f64>().is_ok() { &literal[number.len()..] } else { "" }
}

/// The text with the `@workgroup_size(…)` of an entry point replaced; none where it has none.
pub(super) fn with_workgroup_size(text: &str, entry: &str, [x, y, z]: [u32; 3]) -> Option<String> {
    let code = without_comments(text);
    let (function, _) = after_words(&code, "fn", entry).next()?;
    let first = code[..function].rfind(['}', ';']).map_or(0, |at| at + 1);
    let attribute = first + code[first..function].rfind("workgroup_size")?;
    let open = attribute + code[attribute..function].find('(')?;
    let mut depth = 0_i32;
    let close = code[open..].char_indices().find_map(|(at, character)| {
        depth += match character {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        (depth == 0).then_some(open + at)
    })?;
    // Places of errors stay what they are in the file.
    let lines = "\n".repeat(code[open..close].matches('\n').count());
    Some(format!("{}({x}, {y}, {z}{lines}{}", &text[..open], &text[close..]))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn constants_are_bound_by_their_whole_name_wherever_they_stand() {
        let text = "// const N = 1;\n/* const N = /* 2 */ 2; ä */ const N: u32 = 4u; const N_LONG=1.0f;\nconst M = 3u; // M\n\
            fn f() { const K = 1; }\nconst_assert N == 4;";
        let bound = rebind(text, "N", "8").unwrap();
        assert!(bound.contains("*/ const N: u32 = 8u; const N_LONG=1.0f;") && bound.starts_with("// const N = 1;"));
        assert!(rebind(text, "N_LONG", "2.5").unwrap().contains("const N_LONG= 2.5f;"));
        assert!(rebind(text, "M", "7u").unwrap().contains("const M = 7u; // M"));
        assert!(rebind(text, "M", "N * 2").unwrap().contains("const M = N * 2;"));
        assert_eq!((rebind(text, "K", "2"), rebind(text, "N_", "2"), rebind(text, "", "2")), (None, None, None));
    }

    #[test]
    fn sections_are_repeated_by_their_name() {
        let text = "const N: u32 = 1u;\n  // repeat N\n  case 0u: { x_0[0] = 10u + y_00 + f_0(x_0); }\n  // end\nz_0;\n\
            // repeat N_LONG\na_0\n// end\n// repeat N\nb_0,\n// end\n";
        assert_eq!(
            repeat(text, "N", 2).unwrap(),
            "const N: u32 = 1u;\n  case 0u: { x_0[0] = 10u + y_00 + f_0(x_0); }\n  case 1u: { x_1[0] = 10u + y_00 + f_1(x_1); }\n\
             z_0;\n// repeat N_LONG\na_0\n// end\nb_0,\nb_1,\n"
        );
        assert_eq!(repeat(text, "N_LONG", 0).unwrap().matches("a_").count(), 0);
        assert_eq!((repeat(text, "M", 2), repeat("// repeat N\nx_0\n", "N", 2)), (None, None));
    }

    #[test]
    fn the_workgroup_size_is_that_of_the_entry_point_alone() {
        let text = "@compute @workgroup_size(max(8, 4),\n 2) fn first() {}\n// @workgroup_size(9)\n\
            @workgroup_size(64) /* @workgroup_size(3) */ @compute fn main() {}\nfn plain() {}";
        let first = with_workgroup_size(text, "first", [16, 2, 1]).unwrap();
        assert!(
            first.starts_with("@compute @workgroup_size(16, 2, 1\n) fn first()") && first.contains("(64)"),
            "{first}"
        );
        let main = with_workgroup_size(text, "main", [7, 1, 1]).unwrap();
        assert!(main.contains("@workgroup_size(7, 1, 1) /* @workgroup_size(3) */ @compute fn main"), "{main}");
        assert_eq!(
            (with_workgroup_size(text, "plain", [1; 3]), with_workgroup_size(text, "mai", [1; 3])),
            (None, None)
        );
    }
}
