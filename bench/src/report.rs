//! Ratios of pairs: the median, and in brackets the least and the greatest.

use crate::wrk::Turn;

/// The product's figures divided by the bare handler's.
pub fn ratios(turns: &[(Turn, Turn)]) -> String {
    let line = |name: &str, figure: fn(&Turn) -> f64| {
        let ratios = turns.iter().map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
        format!("{name}: {}\n", spread(ratios))
    };
    [
        line("requests/s, product ÷ bare", |turn| turn.requests_per_second),
        line("CPU a call, product ÷ bare", |turn| turn.cpu_per_call.as_secs_f64()),
        line("p50, product ÷ bare", |turn| turn.p50.as_secs_f64()),
        line("p99, product ÷ bare", |turn| turn.p99.as_secs_f64()),
    ]
    .concat()
}

/// The median, the least and the greatest.
pub fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let (Some(least), Some(greatest)) = (values.first(), values.last()) else { return "nothing".to_owned() };
    // Of an even number the mean of the two in the middle.
    let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    format!("{median:.2} ({least:.2}–{greatest:.2})")
}
