//! What servers say beside the protocol.

/// How much of it goes into an error, in characters.
const EXCERPT: usize = 300;

/// What a server says in plain text or HTML, or else its status.
pub(crate) fn words(status: u16, body: &[u8]) -> String {
    let text = plain(body);
    if text.is_empty() {
        format!("HTTP status {status}")
    } else {
        text
    }
}

/// What a server says in plain text or HTML.
pub(crate) fn plain(body: &[u8]) -> String {
    excerpt(&without_tags(&String::from_utf8_lossy(body)))
}

/// The text of a page. Python's servers answer errors with one.
fn without_tags(text: &str) -> String {
    if !text.trim_start().starts_with('<') {
        return text.to_owned();
    }
    let mut in_tag = false;
    text.chars()
        .filter_map(|character| match character {
            '<' => {
                in_tag = true;
                Some(' ')
            }
            '>' if in_tag => {
                in_tag = false;
                None
            }
            _ if in_tag => None,
            other => Some(other),
        })
        .collect()
}

/// The beginning of a text, in one line.
pub(crate) fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_without_their_tags() {
        let page = b"<!doctype html>\n<title>400 Bad Request</title>\n<p>It was  bad.</p>";
        assert_eq!(words(400, page), "400 Bad Request It was bad.");
        assert_eq!(words(400, b"a < b, b > c\n"), "a < b, b > c");
        assert_eq!(words(502, b"<html></html>"), "HTTP status 502");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let long = "\u{e4}".repeat(EXCERPT + 1);
        let expected = format!("{}...", "\u{e4}".repeat(EXCERPT));
        assert_eq!(words(500, long.as_bytes()), expected);
    }
}
