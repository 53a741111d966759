//! Code to be copied: one block, or the same thing in several languages.

use leptos::prelude::*;

use super::islands::CopyButton;

/// A block of code with its copy button.
#[component]
pub fn CodeBlock(
    #[prop(into)] code: String,
    /// What stands above it, such as a language or a file's name.
    #[prop(into)]
    title: String,
) -> impl IntoView {
    let region = format!("Code: {title}");
    view! {
        <div class="code">
            <div class="code-head">
                <span>{title}</span>
                <CopyButton text=code.clone() label="Copy the code".to_owned() />
            </div>
            <pre tabindex="0" role="region" aria-label=region><code>{code}</code></pre>
        </div>
    }
}

/// The same in several languages, one shown at a time: language and code. It works without JavaScript; up to six.
#[component]
pub fn CodeTabs(
    /// Unlike any other field's name on the page.
    name: &'static str,
    /// What the choice is about.
    #[prop(into)]
    label: String,
    snippets: Vec<(String, String)>,
) -> impl IntoView {
    let choices: Vec<_> = snippets
        .iter()
        .enumerate()
        .map(|(index, (language, _))| {
            view! { <label class="tab"><input type="radio" name=name value=index checked=index == 0 />{language.clone()}</label> }
        })
        .collect();
    let panels: Vec<_> = snippets
        .into_iter()
        .map(|(title, code)| view! { <div class="tab-panel"><CodeBlock code title /></div> })
        .collect();
    view! {
        <div class="tabs">
            <div class="tab-list" role="radiogroup" aria-label=label>{choices}</div>
            {panels}
        </div>
    }
}
