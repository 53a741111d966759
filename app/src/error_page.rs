//! The page for a refusal: what happened and what to do next. It never shows a cause that is ours alone.

use std::sync::Arc;

use leptos::prelude::*;
use leptos_meta::Title;
use tronch_core::ErrorCode;
use tronch_engine::Error;

use crate::form_state::sentence_of;
use crate::layout::TenantLayout;
use crate::server_context::server_context;

/// A refusal as a page.
#[component]
pub(crate) fn ErrorPage(error: Arc<Error>) -> impl IntoView {
    let code = error.code();
    let (heading, advice) = words(code);
    let sentence = sentence_of(&error);
    let words = view! {
        <section class="empty" role="alert">
            <h1>{heading}</h1>
            <p>{sentence}</p>
            <p class="muted">{advice}</p>
            <p><a class="button" href="/">"Go to the start page"</a></p>
        </section>
    };
    // Whoever is inside a tenant keeps the way to everything else there.
    let page = if server_context().place.is_some() {
        view! { <TenantLayout here="">{words}</TenantLayout> }.into_any()
    } else {
        view! { <main id="main" class="page">{words}</main> }.into_any()
    };
    view! { <Title text=heading /> {page} }
}

fn words(code: ErrorCode) -> (&'static str, &'static str) {
    match code {
        ErrorCode::NotFound => ("Nothing here", "The address may be mistyped, or what it named is not yours to see."),
        ErrorCode::Forbidden => {
            ("Not allowed", "Ask an owner or admin of this organisation for a role that may do this.")
        }
        ErrorCode::Unauthenticated => ("Sign in first", "Your session may have ended."),
        ErrorCode::Unavailable => {
            ("Not available right now", "Nothing is lost. Wait a few seconds and load the page again.")
        }
        ErrorCode::Internal => {
            ("Something went wrong", "It has been written to the server's log with the request's id.")
        }
        _ => ("This cannot be done", "Go back, look at what was sent, and try again."),
    }
}
