//! The table of roles in `docs/USING.md` is what the code says, word for word.

use std::fmt::Write as _;
use std::path::Path;

use tronch_core::{PeopleRight, Permission, Role, grants, has_right, may_give};

const BEGIN: &str = "<!-- roles -->\n";
const END: &str = "<!-- /roles -->\n";

/// As Markdown.
fn table() -> String {
    let mut table = String::from("| what | owner | admin | developer | viewer |\n| --- | --- | --- | --- | --- |\n");
    let mut row = |what: &str, may: &dyn Fn(Role) -> bool| {
        let cells = Role::ALL.map(|role| if may(role) { "yes" } else { "–" });
        writeln!(table, "| {what} | {} |", cells.join(" | ")).expect("a text takes all");
    };
    for permission in Permission::ALL {
        row(&format!("{} (`{permission}`)", permission.sentence()), &|role| grants(role, permission));
    }
    for right in PeopleRight::ALL {
        row(right.sentence(), &|role| has_right(role, right));
    }
    for given in Role::ALL {
        row(&format!("Make somebody {given}"), &|role| may_give(role, given));
    }
    table
}

#[test]
fn the_table_of_roles_in_the_docs_is_what_the_code_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/USING.md");
    let text = std::fs::read_to_string(path).expect("the docs");
    let (_, rest) = text.split_once(BEGIN).expect("where it begins");
    let (written, _) = rest.split_once(END).expect("where it ends");
    let table = table();
    assert!(written == table, "write this between the two marks in docs/USING.md:\n{table}");
}
