//! The page of a run: one file that holds everything, for a desk or a phone, with no script and nothing fetched.

use std::path::Path;

use super::png;
use crate::error::Result;

const STYLE: &str = include_str!("page.css");
/// Characters from which on a cell of a table is broken into lines.
const LONG: usize = 36;

/// What the page shows. Any text may stand anywhere: all of it is escaped.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// In the window's title and the heading.
    pub title: String,
    /// Top down.
    pub blocks: Vec<Block>,
}

/// A part of a page.
#[derive(Clone, Debug)]
pub enum Block {
    /// Name and value: device, epochs, times, test error, …
    Facts(Vec<(String, String)>),
    /// The command line that repeats what the page shows; nothing is shown where it is empty.
    Command(String),
    /// A picture over the whole width.
    Figure(Figure),
    /// Pictures side by side as far as there is room for them, under a title.
    Beside(String, Vec<Figure>),
    /// Layers, epochs, …
    Table(Table),
    /// A table whose rows compare columns of words and numbers: all but the first column stand at the right.
    Comparison(Table),
}

/// A picture with its caption.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    /// Under the picture, and in its place where there are no pictures.
    pub caption: String,
    /// The bytes of a PNG file.
    pub png: Vec<u8>,
    /// The same for a narrow screen, where the other would be too small to read.
    pub narrow: Option<Vec<u8>>,
}

/// A table of a page.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Over the table.
    pub title: String,
    /// Titles of the columns; may be empty.
    pub header: Vec<String>,
    /// Cells, row after row. Those that are numbers are aligned to the right.
    pub rows: Vec<Vec<String>>,
}

impl Page {
    /// The page as HTML. The same page gives the same bytes.
    pub fn render(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
        );
        self.blocks.iter().for_each(|block| block.render(&mut html));
        html.push_str("</main>\n</body>\n</html>\n");
        html
    }

    /// Writes the page: the file is complete or as it was.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        png::write_whole(path.as_ref(), self.render().as_bytes())
    }
}

impl Block {
    fn render(&self, html: &mut String) {
        match self {
            Self::Facts(facts) if facts.is_empty() => {}
            Self::Facts(facts) => {
                html.push_str("<dl>\n");
                for (name, value) in facts {
                    html.push_str(&format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value)));
                }
                html.push_str("</dl>\n");
            }
            Self::Command(command) if command.is_empty() => {}
            Self::Command(command) => {
                html.push_str(&format!("<h2>To repeat it</h2>\n<pre><code>{}</code></pre>\n", in_words(command)));
            }
            Self::Figure(figure) => figure.render(html),
            Self::Beside(title, figures) => {
                html.push_str(&format!("<h2>{}</h2>\n<div class=\"beside\">\n", escape(title)));
                figures.iter().for_each(|figure| figure.render(html));
                html.push_str("</div>\n");
            }
            Self::Table(table) => table.render("", html),
            Self::Comparison(table) => table.render(" class=\"comparison\"", html),
        }
    }
}

impl Figure {
    fn render(&self, html: &mut String) {
        let caption = escape(&self.caption);
        html.push_str("<figure>\n<div class=\"wide\"><picture>\n");
        if let Some(narrow) = &self.narrow {
            let (size, data) = (size(narrow), base64(narrow));
            html.push_str(&format!(
                "<source media=\"(max-width: 40rem)\" srcset=\"data:image/png;base64,{data}\"{size}>\n"
            ));
        }
        // A picture that has no narrow form keeps a size at which it can be read, and scrolls.
        let class = if self.narrow.is_some() { "fits" } else { "scrolls" };
        let (size, data) = (size(&self.png), base64(&self.png));
        html.push_str(&format!(
            "<img class=\"{class}\" alt=\"{caption}\"{size} src=\"data:image/png;base64,{data}\">\n\
             </picture></div>\n<figcaption>{caption}</figcaption>\n</figure>\n"
        ));
    }
}

/// Width and height of a PNG file as attributes, so that the page does not move while it is drawn.
fn size(png: &[u8]) -> String {
    let number = |at: usize| png.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
    // Signature, length and name of the header chunk take 16 bytes.
    match (number(16), number(20)) {
        (Some(width), Some(height)) => format!(" width=\"{width}\" height=\"{height}\""),
        _ => String::new(),
    }
}

impl Table {
    fn render(&self, class: &str, html: &mut String) {
        html.push_str(&format!("<h2>{}</h2>\n<div class=\"wide\">\n<table{class}>\n", escape(&self.title)));
        if !self.header.is_empty() {
            html.push_str("<thead><tr>");
            for (column, title) in self.header.iter().enumerate() {
                let class = if self.is_numeric(column) { " class=\"number\"" } else { "" };
                html.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(title)));
            }
            html.push_str("</tr></thead>\n");
        }
        html.push_str("<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for cell in row {
                let class = match cell {
                    cell if is_number(cell) => " class=\"number\"",
                    cell if cell.chars().count() > LONG => " class=\"long\"",
                    _ => "",
                };
                html.push_str(&format!("<td{class}>{}</td>", escape(cell)));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n</table>\n</div>\n");
    }

    /// Whether a column has numbers and, but for empty cells, nothing else.
    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty()).peekable();
        cells.peek().is_some() && cells.all(|cell| is_number(cell))
    }
}

/// Digits, perhaps grouped by commas, with a sign, a point, an exponent or a per cent sign.
fn is_number(text: &str) -> bool {
    let plain = text.trim().trim_end_matches('%').trim_end().replace(',', "");
    plain.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) && plain.parse::<f64>().is_ok()
}

/// Safe as text and inside a quoted attribute.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no such characters, not even as references.
            c if c.is_control() && !matches!(c, '\n' | '\r' | '\t') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A command line that a browser breaks between its words only, and not after the hyphens of a flag.
fn in_words(command: &str) -> String {
    let mut html = String::new();
    for piece in command.split_inclusive(char::is_whitespace) {
        let word = piece.trim_end();
        if !word.is_empty() {
            html.push_str(&format!("<span>{}</span>", escape(word)));
        }
        html.push_str(&piece[word.len()..]);
    }
    html
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, i| bits << 8 | group.get(i).map_or(0, |&byte| usize::from(byte)));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            text.push(if digit <= group.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn base64_gives_the_vectors_of_rfc_4648() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe, 0x00]), "+//+AA==");
    }

    #[test]
    fn all_text_is_escaped() {
        let evil = "<script>alert(\"x\" & 'y')</script>\u{0}";
        let text = || evil.to_owned();
        let figure = || Figure { caption: text(), png: b"png".to_vec(), narrow: Some(b"narrow".to_vec()) };
        let page = Page {
            title: text(),
            blocks: vec![
                Block::Facts(vec![(text(), text())]),
                Block::Command(text()),
                Block::Figure(figure()),
                Block::Beside(text(), vec![figure()]),
                Block::Table(Table { title: text(), header: vec![text()], rows: vec![vec![text()]] }),
            ],
        };
        let html = page.render();
        assert!(!html.contains("<script") && !html.contains("alert(\"x\"") && !html.contains('\0'));
        let escaped = "&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;\u{fffd}";
        assert_eq!(html.matches(escaped).count(), 12);
        assert!(html.contains("<span>&lt;script&gt;alert(&quot;x&quot;</span> <span>&amp;</span> "));
        assert!(
            html.contains("src=\"data:image/png;base64,cG5n\"") && html.contains("srcset=\"data:image/png;base64,bmFy")
        );
    }

    #[test]
    fn numbers_go_to_the_right() {
        for text in ["1", "-0.5", "1,024", "98 %", "1e-3", ".5"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "-", "inf", "nan", "3x3", "conv2d_1", "1 s"] {
            assert!(!is_number(text), "{text}");
        }
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let table = Table {
            title: String::new(),
            header: row(["layer", "count"]),
            rows: vec![row(["a", "1"]), row(["2", ""])],
        };
        let mut html = String::new();
        table.render("", &mut html);
        assert!(html.contains("<th scope=\"col\">layer</th><th scope=\"col\" class=\"number\">count</th>"), "{html}");
    }

    #[test]
    fn pictures_say_their_size() {
        let png = png::encode_png(&image::RgbImage::new(300, 7)).unwrap();
        assert_eq!(size(&png), " width=\"300\" height=\"7\"");
        assert_eq!(size(b"png"), "");
    }

    #[test]
    fn an_empty_page_is_a_page_and_fetches_nothing() {
        let html = Page::default().render();
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
        assert!(
            !html.contains("http:") && !html.contains("https:") && !html.contains("<dl>") && !html.contains("<pre>")
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        Page::default().write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), html);
    }
}
