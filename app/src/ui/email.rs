//! An e-mail address where there is little room: it breaks before the `@`, and elsewhere only when that is not enough.

use leptos::either::Either;
use leptos::prelude::*;

/// An address, as text.
#[component]
pub fn Email(#[prop(into)] address: String) -> impl IntoView {
    let parts = address.split_once('@').map(|(local, domain)| (local.to_owned(), format!("@{domain}")));
    let text = match parts {
        Some((local, domain)) => Either::Left(view! { {local} <wbr /> {domain} }),
        None => Either::Right(address),
    };
    view! { <span class="wrap">{text}</span> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_breaks_before_the_sign_and_is_the_address_when_copied() {
        let html = view! { <Email address="ada.lovelace@analytical.example" /> }.to_html();
        assert!(html.contains("<wbr"), "{html}");
        let mut is_text = true;
        let text: String = html
            .chars()
            .filter(|character| {
                match character {
                    '<' => is_text = false,
                    '>' => {
                        is_text = true;
                        return false;
                    }
                    _ => {}
                }
                is_text
            })
            .collect();
        assert_eq!(text, "ada.lovelace@analytical.example");
        assert!(view! { <Email address="nobody" /> }.to_html().contains("nobody"));
    }
}
