//! Parts that know no domain word: buttons, fields, notices, islands. They are given texts and make markup.

pub mod button;
pub mod field;
pub mod islands;
pub mod notice;
