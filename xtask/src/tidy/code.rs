//! Rust source split into what is code and what is comment, line by line.

/// One line of a source file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The code, with the inside of strings and characters left out.
    pub(super) code: String,
    /// The comment's text.
    pub(super) comment: String,
}

impl Line {
    /// Whether the code contains this word as a whole.
    pub(super) fn has_word(&self, word: &str) -> bool {
        self.code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found == word)
    }
}

enum State {
    Code,
    LineComment,
    /// With its depth: block comments nest.
    BlockComment(usize),
    /// With its number of `#`, where it is raw.
    Text(Option<usize>),
}

/// Splits a source file. It knows comments, strings, raw strings, characters and lifetimes; that is all tidy needs.
pub(super) fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let starts = |at: usize, text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let last = lines.len() - 1;
        let line = &mut lines[last];
        let mut step = 1;
        match state {
            State::Code if starts(at, "//") => (state, step) = (State::LineComment, 2),
            State::Code if starts(at, "/*") => (state, step) = (State::BlockComment(1), 2),
            State::Code if c == '"' => {
                line.code.push('"');
                state = State::Text(raw_hashes(&line.code));
            }
            State::Code if c == '\'' => step = character(&chars[at..]),
            State::Code => line.code.push(c),
            State::LineComment => line.comment.push(c),
            State::BlockComment(depth) if starts(at, "/*") => {
                (state, step) = (State::BlockComment(depth + 1), 2)
            }
            State::BlockComment(1) if starts(at, "*/") => (state, step) = (State::Code, 2),
            State::BlockComment(depth) if starts(at, "*/") => {
                (state, step) = (State::BlockComment(depth - 1), 2)
            }
            State::BlockComment(_) => line.comment.push(c),
            // An escaped newline is left to the top of the loop, which counts lines.
            State::Text(None) if c == '\\' => step = if chars.get(at + 1) == Some(&'\n') { 1 } else { 2 },
            State::Text(None) if c == '"' => {
                line.code.push('"');
                state = State::Code;
            }
            State::Text(Some(hashes)) if c == '"' && starts(at + 1, &"#".repeat(hashes)) => {
                line.code.push('"');
                (state, step) = (State::Code, 1 + hashes);
            }
            State::Text(_) => {}
        }
        at += step;
    }
    lines
}

/// With the code up to and including an opening quote: the number of `#` if it opens a raw string.
fn raw_hashes(code: &str) -> Option<usize> {
    let before = code.strip_suffix('"')?;
    let prefix = before.trim_end_matches('#');
    let word = prefix.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    matches!(word, "r" | "br" | "cr").then_some(before.len() - prefix.len())
}

/// How many characters to pass over at a `'`: a whole character literal, or the quote of a lifetime.
fn character(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', _, tail @ ..] => tail.iter().position(|&c| c == '\'').map_or(1, |end| end + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> Vec<String> {
        lines(source).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        assert_eq!(code("a // b\nc /* d /* e */ f */ g"), ["a ", "c  g"]);
        assert_eq!(code(r#"x("unsafe \" {", 'c', '\'', '"', '\u{7f}') y"#), [r#"x("", , , , ) y"#]);
        assert_eq!(code("let s = r#\"a \" b\"# ; t"), ["let s = r#\"\" ; t"]);
        assert_eq!(code("f::<'a>(\"x\n unsafe\") z"), ["f::<a>(\"", "\") z"]);
        assert_eq!(code("\"a\\\n unsafe\" b"), ["\"", "\" b"]);
        assert_eq!(lines("/// doc")[0].comment, "/ doc");
    }

    #[test]
    fn words_are_whole() {
        let line = &lines("#![forbid(unsafe_code)]")[0];
        assert!(!line.has_word("unsafe") && line.has_word("unsafe_code"));
    }
}
