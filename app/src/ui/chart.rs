//! Stacked bars over time. Each bar is an svg of its own, so bars stretch with the page and letters do not.

use leptos::prelude::*;

/// What a colour stands for; `class` chooses it.
#[derive(Debug, Clone)]
pub struct Series {
    pub label: String,
    pub class: &'static str,
}

/// One bar: its time, and one number per series in the order of the series.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub label: String,
    pub values: Vec<u64>,
}

impl Bucket {
    fn total(&self) -> u64 {
        self.values.iter().sum()
    }
}

/// Why there are no bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChartState {
    Loading,
    Failed,
    NoData,
}

/// Stands where the bars would be, apart for each reason.
#[component]
pub fn ChartNote(state: ChartState, #[prop(into)] sentence: String) -> impl IntoView {
    let class = match state {
        ChartState::Loading => "chart-state loading",
        ChartState::Failed => "chart-state failed",
        ChartState::NoData => "chart-state",
    };
    view! { <div class=class role="status">{sentence}</div> }
}

/// Bars, legend, scale, what stands under the pointer, and the same numbers as a table.
#[component]
pub fn StackedBars(
    #[prop(into)] title: String,
    series: Vec<Series>,
    buckets: Vec<Bucket>,
    #[prop(default = "Nothing was counted in this time.".to_owned(), into)] no_data: String,
) -> impl IntoView {
    let total: u64 = buckets.iter().map(Bucket::total).sum();
    let summary = format!("{title}: {} in {} bars. The numbers are in the table below.", grouped(total), buckets.len());
    let body = if total == 0 {
        view! { <ChartNote state=ChartState::NoData sentence=no_data /> }.into_any()
    } else {
        let table = data_table(&title, &series, &buckets);
        view! { {plot(summary, &series, &buckets)} {table} }.into_any()
    };
    view! {
        <figure class="chart">
            <figcaption class="chart-head"><h2>{title}</h2> {(total > 0).then(|| legend(&series))}</figcaption>
            {body}
        </figure>
    }
}

/// A row of tiny bars for a table's cell: below what counts, above what was refused.
#[component]
pub fn MiniBars(
    #[prop(into)] label: String,
    bars: Vec<(u64, u64)>,
    below: &'static str,
    above: &'static str,
) -> impl IntoView {
    let top = bars.iter().map(|(low, high)| low + high).max().unwrap_or(0).max(1);
    let width = bars.len().max(1) * 4;
    let bars: Vec<_> = bars
        .into_iter()
        .enumerate()
        .map(|(index, (low, high))| {
            let (low, high) = (share(low, top, 100), share(high, top, 100));
            view! {
                <rect class=below x=index * 4 y=100 - low width="3" height=low />
                <rect class=above x=index * 4 y=100 - low - high width="3" height=high />
            }
        })
        .collect();
    view! {
        <svg class="mini-bars" viewBox=format!("0 0 {width} 100") preserveAspectRatio="none" role="img" aria-label=label>
            {bars}
        </svg>
    }
}

/// A patch of a series' colour, beside its name.
#[component]
pub fn ColourKey(class: &'static str) -> impl IntoView {
    view! { <svg class=format!("chart-key {class}") viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10" rx="2" /></svg> }
}

fn legend(series: &[Series]) -> impl IntoView + use<> {
    let entries: Vec<_> = series
        .iter()
        .map(|series| view! { <li><ColourKey class=series.class /> {series.label.clone()}</li> })
        .collect();
    view! { <ul class="chart-legend">{entries}</ul> }
}

fn plot(summary: String, series: &[Series], buckets: &[Bucket]) -> impl IntoView + use<> {
    let scale = Scale::over(buckets.iter().map(Bucket::total).max().unwrap_or(0));
    let ticks: Vec<_> = scale.ticks().map(|tick| view! { <span>{short(tick)}</span> }).collect();
    let lines: Vec<_> = scale
        .ticks()
        .map(|tick| {
            let y = HEIGHT - share(tick, scale.top, HEIGHT);
            view! { <line x1="0" x2="100" y1=y y2=y /> }
        })
        .collect();
    let bars: Vec<_> = buckets
        .iter()
        .enumerate()
        .map(|(index, bucket)| bar(bucket, series, scale.top, index * 2 >= buckets.len()))
        .collect();
    let labels: Vec<_> = spread(buckets).into_iter().map(|label| view! { <span>{label}</span> }).collect();
    view! {
        <div class="chart-frame" role="img" aria-label=summary>
            <div class="chart-axis">{ticks}</div>
            <div class="chart-plot">
                <svg class="chart-grid" viewBox=format!("0 0 100 {HEIGHT}") preserveAspectRatio="none">{lines}</svg>
                <div class="chart-buckets">{bars}</div>
            </div>
            <div class="chart-labels">{labels}</div>
        </div>
    }
}

/// The height of a plot in its own units.
const HEIGHT: u64 = 1000;

fn bar(bucket: &Bucket, series: &[Series], top: u64, late: bool) -> impl IntoView + use<> {
    let mut below = 0;
    let mut parts = Vec::new();
    let mut lines = Vec::new();
    for (series, &value) in series.iter().zip(&bucket.values).filter(|(_, value)| **value > 0) {
        let foot = share(below, top, HEIGHT);
        below += value;
        // What happened once is seen beside what happened a million times.
        let height = (share(below, top, HEIGHT) - foot).max(8);
        let title = format!("{}, {}: {}", bucket.label, series.label, grouped(value));
        parts.push(view! {
            <rect class=series.class x="1" y=HEIGHT.saturating_sub(foot + height) width="8" height=height><title>{title}</title></rect>
        });
        lines.push(view! { <li><ColourKey class=series.class /> {series.label.clone()} <b>{grouped(value)}</b></li> });
    }
    view! {
        <div class=if late { "chart-bucket late" } else { "chart-bucket" }>
            <svg class="chart-bar" viewBox=format!("0 0 10 {HEIGHT}") preserveAspectRatio="none">{parts}</svg>
            <div class="chart-readout">
                <span>{bucket.label.clone()}" · "{grouped(bucket.total())}</span>
                <ul>{lines}</ul>
            </div>
        </div>
    }
}

/// The first, the middle and the last label; more would collide on a phone.
fn spread(buckets: &[Bucket]) -> Vec<String> {
    let last = buckets.len().saturating_sub(1);
    let mut places = vec![0, last / 2, last];
    places.dedup();
    places.into_iter().filter_map(|place| buckets.get(place)).map(|bucket| bucket.label.clone()).collect()
}

fn data_table(title: &str, series: &[Series], buckets: &[Bucket]) -> impl IntoView + use<> {
    let heads: Vec<_> =
        series.iter().map(|series| view! { <th scope="col" class="number">{series.label.clone()}</th> }).collect();
    let rows: Vec<_> = buckets
        .iter()
        .map(|bucket| {
            let cells: Vec<_> =
                bucket.values.iter().map(|value| view! { <td class="number">{grouped(*value)}</td> }).collect();
            view! { <tr><th scope="row">{bucket.label.clone()}</th>{cells}</tr> }
        })
        .collect();
    view! {
        <details class="chart-data">
            <summary>"Numbers as a table"</summary>
            <div class="table-wrap scrolls" role="region" aria-label=format!("{title} as a table") tabindex="0">
                <table class="table">
                    <thead><tr><th scope="col">"Time"</th>{heads}</tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </details>
    }
}

/// `value` of `top` in `units`, rounded down; wide enough for any count.
fn share(value: u64, top: u64, units: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(units) / u128::from(top.max(1))).unwrap_or(units).min(units)
}

/// A scale from nought whose ticks are 1, 2 or 5 times a power of ten.
struct Scale {
    step: u64,
    top: u64,
}

impl Scale {
    /// At most five steps that hold `most`.
    fn over(most: u64) -> Self {
        let mut power: u64 = 1;
        loop {
            for factor in [1, 2, 5] {
                let step = power.saturating_mul(factor);
                if most.div_ceil(step) <= 5 {
                    return Self { step, top: step.saturating_mul(most.div_ceil(step).max(1)) };
                }
            }
            power = power.saturating_mul(10);
        }
    }

    fn ticks(&self) -> impl Iterator<Item = u64> + use<> {
        let step = self.step;
        (0..=self.top / step).map(move |tick| tick * step)
    }
}

/// `1204` as `1 204`, with spaces that do not break.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 * 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `12000` as `12k`: for the scale, whose steps are round.
fn short(number: u64) -> String {
    let (unit, name) = match number {
        0..1_000 => return number.to_string(),
        1_000..1_000_000 => (1_000, "k"),
        1_000_000..1_000_000_000 => (1_000_000, "M"),
        _ => (1_000_000_000, "G"),
    };
    let tenths = number % unit * 10 / unit;
    if tenths == 0 { format!("{}{name}", number / unit) } else { format!("{}.{tenths}{name}", number / unit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_holds_its_highest_bar_in_at_most_five_round_steps() {
        for (most, step, top) in
            [(0, 1, 1), (1, 1, 1), (5, 1, 5), (6, 2, 6), (11, 5, 15), (99, 20, 100), (1204, 500, 1500)]
        {
            let scale = Scale::over(most);
            assert_eq!((scale.step, scale.top), (step, top), "for {most}");
        }
        assert!(Scale::over(u64::MAX).ticks().count() <= 6);
    }

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(grouped(1_204), "1\u{202f}204");
        assert_eq!(grouped(204), "204");
        assert_eq!(short(1_500), "1.5k");
        assert_eq!(short(2_000_000), "2M");
    }
}
