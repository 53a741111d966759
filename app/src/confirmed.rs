//! Which nodes go by a change that was just made: how the address tells the page after it, and the sentence there.

use leptos_router::params::ParamsMap;
use tronch_core::{Timestamp, format_timestamp};
use tronch_engine::Confirmation;

/// Characters of a node's name that are shown.
const NAME_CHARACTERS_MAX: usize = 80;

/// Nodes that have not confirmed and are named; more are only counted.
const NAMED_MAX: usize = 5;

/// `&confirmed=…`, to follow the address of a page.
pub fn confirmed_query(confirmation: &Confirmation) -> String {
    let (some, late) = (confirmation.confirmed.len(), confirmation.unconfirmed.len());
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("confirmed", &format!("{some}-{}-{}", some + late, confirmation.took.as_millis()));
    for node in confirmation.unconfirmed.iter().take(NAMED_MAX) {
        query.append_pair("late", &format!("{}~{}", node.node, node.may_answer_until.timestamp()));
    }
    format!("&{}", query.finish())
}

/// The sentence for a page that is the answer to the change itself.
pub fn confirmed_words(confirmation: &Confirmation) -> String {
    let (some, all) = (confirmation.confirmed.len(), confirmation.confirmed.len() + confirmation.unconfirmed.len());
    let late = confirmation.unconfirmed.iter().take(NAMED_MAX);
    let late = late.map(|node| late_sentence(&node.node, node.may_answer_until)).collect();
    words(some, all, confirmation.took.as_millis(), late)
}

/// The sentence for an address that [`confirmed_query`] made; nothing for any other.
pub(crate) fn confirmed_sentence(query: &ParamsMap) -> Option<String> {
    let counts = query.get("confirmed")?;
    let mut counts = counts.splitn(3, '-').map(|count| count.parse::<u32>().ok());
    let (some, all, took_ms) = (counts.next()??, counts.next()??, counts.next()??);
    let late = query.get_all("late").unwrap_or_default();
    let late = late.iter().filter_map(|late| late_words(late)).collect();
    Some(words(some as usize, all as usize, took_ms.into(), late))
}

fn words(some: usize, all: usize, took_ms: u128, late: Vec<String>) -> String {
    let nodes = if all == 1 { "node" } else { "nodes" };
    match (some == all, late.as_slice()) {
        (true, _) => format!("Confirmed by {some} of {all} {nodes} in {took_ms} ms."),
        (false, []) => format!("Confirmed by {some} of {all} {nodes}."),
        (false, late) => format!("Confirmed by {some} of {all} {nodes}. Not yet by {}.", late.join(", nor by ")),
    }
}

fn late_words(late: &str) -> Option<String> {
    let (name, until) = late.rsplit_once('~')?;
    let is_name = |character: char| character.is_ascii_alphanumeric() || ".:_-".contains(character);
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(is_name) {
        return None;
    }
    Some(late_sentence(name, Timestamp::from_timestamp(until.parse().ok()?, 0)?))
}

fn late_sentence(name: &str, until: Timestamp) -> String {
    let until = format_timestamp(until);
    let time = until.get(11..19).unwrap_or(&until);
    format!("{name}, which may go by what was until {time} UTC if it is cut off from Postgres")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tronch_engine::Unconfirmed;

    use super::*;

    fn sentence(confirmation: &Confirmation) -> Option<String> {
        let query = confirmed_query(confirmation);
        let pairs = form_urlencoded::parse(query.trim_start_matches('&').as_bytes()).into_owned();
        let mut map = ParamsMap::new();
        pairs.for_each(|(name, value)| map.insert(name, value));
        confirmed_sentence(&map)
    }

    #[test]
    fn who_has_confirmed_is_said_and_who_has_not_is_named() {
        let (one, two) = ("keys-1:3000".to_owned(), "keys-2:3000".to_owned());
        let took = Duration::from_millis(38);
        let all = Confirmation { confirmed: vec![one.clone(), two.clone()], unconfirmed: Vec::new(), took };
        assert_eq!(sentence(&all).as_deref(), Some("Confirmed by 2 of 2 nodes in 38 ms."));
        let may_answer_until = Timestamp::from_timestamp(1_795_000_000, 0).expect("a time");
        let some =
            Confirmation { confirmed: vec![one], unconfirmed: vec![Unconfirmed { node: two, may_answer_until }], took };
        assert_eq!(
            sentence(&some).as_deref(),
            Some(
                "Confirmed by 1 of 2 nodes. Not yet by keys-2:3000, which may go by what was until 11:06:40 UTC if it is cut off from Postgres."
            )
        );
        assert_eq!(sentence(&some), Some(confirmed_words(&some)));
        assert_eq!(late_words("<b>~1"), None);
        assert_eq!(confirmed_sentence(&ParamsMap::new()), None);
    }
}
