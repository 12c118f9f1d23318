/// As many whole characters from the start of the text as fit that many octets.
pub(crate) fn cut(text: &str, octets: usize) -> &str {
    let mut end = octets.min(text.len());
    // Ends at the latest at zero, which is a boundary.
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_never_splits_a_character() {
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(cut("aäb", 3), "aä");
        assert_eq!(cut("ab", 9), "ab");
        assert_eq!(cut("ä", 1), "");
    }
}
