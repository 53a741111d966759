//! Line drawings on a grid of 24 by 24. They decorate: the word beside them says what they mean.

use leptos::prelude::*;

/// Which drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IconName {
    Activity,
    Alert,
    Ban,
    Book,
    Check,
    Chevron,
    Clock,
    Copy,
    External,
    Folder,
    Info,
    Key,
    List,
    LogOut,
    Moon,
    Plus,
    Power,
    Rotate,
    Search,
    Shield,
    Sun,
    Terminal,
    Users,
    X,
}

impl IconName {
    /// The strokes, as the `d` of one path.
    fn strokes(self) -> &'static str {
        match self {
            Self::Activity => "M3 12h4l3-8 4 16 3-8h4",
            Self::Alert => "M12 4 2.8 19.5h18.4L12 4Zm0 6v4.5m0 2.6v.1",
            Self::Ban => "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0ZM5.7 5.7l12.6 12.6",
            Self::Book => {
                "M12 7c-1.7-1.6-4.4-2.2-8.5-2v13.5c4.1-.2 6.8.4 8.5 2 1.7-1.6 4.4-2.2 8.5-2V5c-4.1-.2-6.8.4-8.5 2Zm0 0v13.5"
            }
            Self::Check => "m4.5 12.5 5 5 10-11",
            Self::Chevron => "m9 5.5 6.5 6.5L9 18.5",
            Self::Clock => "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Zm-9-5v5l3.5 2",
            Self::Copy => "M9 9h11v11H9zM5 15H4V4h11v1",
            Self::External => "M14 4h6v6m0-6-9 9M10 5H5v14h14v-5",
            Self::Folder => "M3 19V5h6.5l2 3H21v11z",
            Self::Info => "M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Zm-9-1v5.5m0-9v.1",
            Self::Key => "M12 16a4.5 4.5 0 1 1-9 0 4.5 4.5 0 0 1 9 0Zm-1.3-3.2L20 3.5M16 7.5l3 3",
            Self::List => "M9 6h12M9 12h12M9 18h12M4 6h.1M4 12h.1M4 18h.1",
            Self::LogOut => "M10 20H4V4h6m5 4 4.5 4-4.5 4m4.5-4H9.5",
            Self::Moon => "M20 14.5A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.5Z",
            Self::Plus => "M12 5v14M5 12h14",
            Self::Power => "M12 3v9m5.7-5.7a8 8 0 1 1-11.4 0",
            Self::Rotate => "M20 4v5.5h-5.5M4 20v-5.5h5.5M19.5 9.5A8 8 0 0 0 5.3 8m-.8 6.5A8 8 0 0 0 18.7 16",
            Self::Search => "M17.5 10.75a6.75 6.75 0 1 1-13.5 0 6.75 6.75 0 0 1 13.5 0ZM15.7 15.7 21 21",
            Self::Shield => "M12 3 4.5 6v5.5c0 4.5 3 7.7 7.5 9.5 4.5-1.8 7.5-5 7.5-9.5V6z",
            Self::Sun => {
                "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0ZM12 2.5v2m0 15v2M2.5 12h2m15 0h2M5.3 5.3l1.4 1.4m10.6 10.6 1.4 1.4m0-13.4-1.4 1.4M6.7 17.3l-1.4 1.4"
            }
            Self::Terminal => "m5 6.5 5.5 5.5L5 17.5M13 18h7",
            Self::Users => {
                "M12.5 8.5a3.5 3.5 0 1 1-7 0 3.5 3.5 0 0 1 7 0ZM2.5 20c.2-4 2.5-6 6.5-6s6.3 2 6.5 6M15.5 5.2a3.5 3.5 0 0 1 0 6.6M18 14.6c2.2.8 3.3 2.6 3.5 5.4"
            }
            Self::X => "M6 6l12 12M18 6 6 18",
        }
    }
}

/// A drawing the height of the text beside it; hidden from those who listen.
#[component]
pub fn Icon(name: IconName) -> impl IntoView {
    view! {
        <svg class="icon" viewBox="0 0 24 24" width="16" height="16" aria-hidden="true" focusable="false">
            <path d=name.strokes() />
        </svg>
    }
}
