//! Projects as pages: the list, the form that makes one, and one project with its settings.

mod list;
mod new;
mod one;

pub(crate) use list::ProjectsPage;
pub(crate) use new::NewProjectPage;
pub(crate) use one::ProjectPage;
