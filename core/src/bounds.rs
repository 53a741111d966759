//! Every upper bound of the product, by name and unit. Whoever enforces one says so where it does.

/// Credits that are added at once, at most.
pub const CREDITS_ADDED_MAX: u64 = 1_000_000_000_000;

/// A request's body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// A key's metadata, as JSON text.
pub const METADATA_BYTES_MAX: usize = 8 * 1024;
/// Permissions one key holds.
pub const PERMISSIONS_PER_KEY_MAX: usize = 100;
/// Rows of one page of a list.
pub const PAGE_SIZE_MAX: u32 = 100;
/// Rows of one page when nothing is asked for.
pub const PAGE_SIZE_DEFAULT: u32 = 25;
/// A list's search text.
pub const SEARCH_CHARACTERS_MAX: usize = 100;
/// The longest grace a project may allow: 30 days.
pub const GRACE_SECONDS_MAX: u32 = 30 * 24 * 3600;
/// The shortest password, in characters (NIST SP 800-63B asks for 8, we for more).
pub const PASSWORD_CHARACTERS_MIN: usize = 12;
/// The longest password.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Tags of one validation.
pub const TAGS_MAX: usize = 20;
/// Cost of one validation.
pub const COST_MAX: u32 = 1_000_000;
/// A permission query's text.
pub const QUERY_BYTES_MAX: usize = 1024;
/// Names in one permission query.
pub const QUERY_TERMS_MAX: usize = 64;
/// Parentheses inside parentheses in one permission query.
pub const QUERY_DEPTH_MAX: usize = 16;
/// Characters of one permission that a key holds or a query asks for.
pub const PERMISSION_CHARACTERS_MAX: usize = 100;
/// Usage events waiting to be written; what comes beyond is dropped and counted.
pub const USAGE_CHANNEL_EVENTS: usize = 10_000;
/// How far ahead a key's own end is told of.
pub const EXPIRES_SOON_DAYS: i64 = 7;
/// After how long without a call a key counts as unused.
pub const UNUSED_DAYS: i64 = 30;
/// The same for a key that was never used: it was meant to be.
pub const UNUSED_FROM_THE_START_DAYS: i64 = 7;
/// Fewer refused calls a day are nobody's worry.
pub const REFUSED_CALLS_MIN: u64 = 10;
/// From this share of a day's calls on, refusals are elevated.
pub const REFUSED_PERCENT_MIN: u64 = 20;
/// Limits on one key, owner, project, or environment of a project. A key is held to those of four places at most.
pub const LIMITS_ON_ONE_MAX: i64 = 8;
/// Limits of one namespace, for all of its identifiers and for some.
pub const LIMITS_OF_NAMESPACE_MAX: i64 = 1_000;
/// Names of limits in one namespace. An identifier is held to one of each at most.
pub const NAMES_OF_NAMESPACE_MAX: usize = 8;
/// Limits that one validation names.
pub const NAMED_LIMITS_MAX: usize = 16;
/// Keys that are changed in one go.
pub const KEYS_AT_ONCE_MAX: usize = 100;
