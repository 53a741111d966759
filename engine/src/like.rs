//! Looking for a part of a text, in whatever case. Small letters are as Postgres knows them: its idea of them is the only one.

diesel::define_sql_function! {
    /// Postgres's own.
    fn lower(text: diesel::sql_types::Text) -> diesel::sql_types::Text;
}

/// For LIKE: whatever holds this text.
pub(crate) fn holding(text: &str) -> String {
    format!("%{}%", escape_like(text))
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_like_is_looked_for_as_it_stands() {
        assert_eq!(holding(r"100%_\"), r"%100\%\_\\%");
    }
}
