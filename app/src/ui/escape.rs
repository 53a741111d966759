//! Text for the two elements whose content Leptos writes as it is given: `<title>` and `<textarea>`. Everywhere else it
//! escapes by itself.

/// What reads as `text` and can neither end the element nor begin another.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_means_something_in_html_is_written_so_that_it_does_not() {
        assert_eq!(escaped("</title><b> &amp;"), "&lt;/title&gt;&lt;b&gt; &amp;amp;");
    }
}
