//! Tests of the permission query: a table for each rule, and properties against a second evaluator. No rules.

use proptest::prelude::*;

use super::*;

fn held(permissions: &[&str]) -> Vec<KeyPermission> {
    permissions.iter().map(|text| KeyPermission::parse(text).expect("a permission")).collect()
}

fn allows(query: &str, permissions: &[&str]) -> bool {
    PermissionQuery::parse(query).expect("a query").allows(&held(permissions))
}

#[test]
fn a_permission_is_a_short_plain_word() {
    for good in ["a", "invoices.read", "Invoices:Read/all_-1", "invoices.*", "*", "inv*", "android", &"a".repeat(100)] {
        assert_eq!(KeyPermission::parse(good).map(|permission| permission.to_string()).as_deref(), Ok(good));
    }
    for bad in ["", " a", "a b", "a*b", "*a", "a**", "é", "a\n", "a,b", "(a)", &"a".repeat(101)] {
        assert_eq!(KeyPermission::parse(bad), Err(KeyPermissionError::Form), "{bad}");
    }
    for bad in ["and", "OR", "And"] {
        assert_eq!(KeyPermission::parse(bad), Err(KeyPermissionError::Keyword), "{bad}");
    }
}

#[test]
fn and_binds_tighter_than_or() {
    let table = [
        ("a", &["a"][..], true),
        ("a", &[], false),
        ("a", &["A"], false),
        ("a OR b AND c", &["a"], true),
        ("a OR b AND c", &["b"], false),
        ("a OR b AND c", &["b", "c"], true),
        ("(a OR b) AND c", &["a"], false),
        ("(a OR b) AND c", &["b", "c"], true),
        ("a AND b OR c AND d", &["c", "d"], true),
        ("a AND b OR c AND d", &["b", "c"], false),
        ("a and b Or c", &["c"], true),
        ("\ta\nAND(b)or(\r(c))", &["a", "b"], true),
        ("invoices.read AND (invoices.write OR admin)", &["invoices.read", "admin"], true),
    ];
    for (query, permissions, expected) in table {
        assert_eq!(allows(query, permissions), expected, "{query} {permissions:?}");
    }
}

#[test]
fn a_trailing_star_stands_for_whatever_follows() {
    let table = [
        ("invoices.*", "invoices.read", true),
        ("invoices.*", "invoices.read.all", true),
        ("invoices.*", "invoices", false),
        ("invoices.*", "invoices2.read", false),
        ("inv*", "invoices.read", true),
        ("*", "anything", true),
        ("invoices.read", "invoices.read.all", false),
    ];
    for (permission, query, expected) in table {
        assert_eq!(allows(query, &[permission]), expected, "{permission} {query}");
    }
}

#[test]
fn a_refusal_says_where_and_why() {
    let table = [
        ("", 0, "a permission is missing here"),
        ("   ", 3, "a permission is missing here"),
        ("AND a", 0, "a permission is missing here"),
        ("a OR", 4, "a permission is missing here"),
        ("a AND OR b", 6, "a permission is missing here"),
        ("()", 1, "a permission is missing here"),
        ("a b", 2, "AND or OR is missing here"),
        ("a (b)", 2, "AND or OR is missing here"),
        ("(a", 2, "a ) is missing here"),
        ("(a b", 3, "AND, OR or ) is missing here"),
        ("a)", 1, "this ) closes nothing"),
        ("a.* OR b", 2, "a * belongs to what a key holds, not to a query"),
        ("a OR é", 5, "a permission has characters of A-Z a-z 0-9 . _ : / - only"),
        ("a & b", 2, "a permission has characters of A-Z a-z 0-9 . _ : / - only"),
    ];
    for (query, at, message) in table {
        assert_eq!(PermissionQuery::parse(query), Err(refusal(at, message)), "{query}");
    }
    let error = PermissionQuery::parse("a b").expect_err("two terms");
    assert_eq!(error.to_string(), "AND or OR is missing here, at byte 2 of the query");
}

#[test]
fn each_bound_holds_exactly() {
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    let wide = |terms: usize| vec!["a"; terms].join(" OR ");
    assert!(PermissionQuery::parse(&nested(QUERY_DEPTH_MAX)).is_ok());
    assert_eq!(PermissionQuery::parse(&nested(QUERY_DEPTH_MAX + 1)).map_err(|error| error.at), Err(QUERY_DEPTH_MAX));
    assert!(PermissionQuery::parse(&wide(QUERY_TERMS_MAX)).is_ok());
    assert!(PermissionQuery::parse(&wide(QUERY_TERMS_MAX + 1)).is_err());
    assert!(PermissionQuery::parse(&"a".repeat(PERMISSION_CHARACTERS_MAX)).is_ok());
    assert!(PermissionQuery::parse(&"a".repeat(PERMISSION_CHARACTERS_MAX + 1)).is_err());
    assert!(PermissionQuery::parse(&format!("a{}", " ".repeat(QUERY_BYTES_MAX - 1))).is_ok());
    assert!(PermissionQuery::parse(&format!("a{}", " ".repeat(QUERY_BYTES_MAX))).is_err());
    assert!(PermissionQuery::parse(&"(".repeat(1_000_000)).is_err());
    // Parentheses beside each other are not inside each other.
    assert!(PermissionQuery::parse(&vec!["(a)"; QUERY_DEPTH_MAX + 1].join(" AND ")).is_ok());
}

#[derive(Debug, Clone)]
enum Tree {
    Leaf(usize),
    And(Box<Tree>, Box<Tree>),
    Or(Box<Tree>, Box<Tree>),
}

const NAMES: [&str; 4] = ["a.read", "a.write", "b", "c"];

impl Tree {
    fn text(&self) -> String {
        match self {
            Self::Leaf(index) => NAMES[*index].to_owned(),
            Self::And(left, right) => format!("({}) AND ({})", left.text(), right.text()),
            Self::Or(left, right) => format!("({} or {})", left.text(), right.text()),
        }
    }

    fn value(&self, holds: [bool; 4]) -> bool {
        match self {
            Self::Leaf(index) => holds[*index],
            Self::And(left, right) => left.value(holds) && right.value(holds),
            Self::Or(left, right) => left.value(holds) || right.value(holds),
        }
    }
}

fn tree() -> impl Strategy<Value = Tree> {
    (0..NAMES.len()).prop_map(Tree::Leaf).prop_recursive(5, 32, 2, |inner| {
        (inner.clone(), inner, any::<bool>()).prop_map(|(left, right, and)| {
            let (left, right) = (Box::new(left), Box::new(right));
            if and { Tree::And(left, right) } else { Tree::Or(left, right) }
        })
    })
}

proptest! {
    #[test]
    fn a_query_means_what_its_tree_means(tree in tree(), holds: [bool; 4]) {
        let permissions: Vec<&str> = NAMES.iter().zip(holds).filter(|(_, held)| *held).map(|(name, _)| *name).collect();
        prop_assert_eq!(allows(&tree.text(), &permissions), tree.value(holds));
    }

    #[test]
    fn a_printed_query_reads_back(tree in tree()) {
        let query = PermissionQuery::parse(&tree.text()).expect("a query");
        prop_assert_eq!(PermissionQuery::parse(&query.to_string()), Ok(query));
    }

    #[test]
    fn holding_more_never_allows_less(tree in tree(), holds: [bool; 4], more: [bool; 4]) {
        let both = std::array::from_fn(|index| holds[index] || more[index]);
        prop_assert!(!tree.value(holds) || tree.value(both));
    }

    #[test]
    fn no_text_makes_parsing_panic(text in "[a-c ()*.]{0,60}|\\PC{0,60}|(\\(|a|AND|OR| |\\)){0,60}") {
        if let Err(error) = PermissionQuery::parse(&text) {
            prop_assert!(error.at <= text.len() && text.is_char_boundary(error.at));
        }
    }
}
