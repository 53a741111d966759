//! Parts that know no domain word: buttons, fields, tables, charts, islands. They are given texts and make markup.

pub mod badge;
pub mod button;
pub mod chart;
pub mod code;
pub mod diff;
pub mod email;
pub mod empty;
pub mod escape;
pub mod field;
pub mod icons;
pub mod islands;
pub mod notice;
pub mod page_head;
pub mod table;
