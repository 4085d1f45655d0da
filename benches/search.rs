//! Nearest neighbours: 1,000 queries at once and one at a time, exactly and by the graph: `cargo bench --bench search`, on the
//! CPU executor. `benches/search.py` runs it beside scikit-learn: with the words CODES.npy QUERIES.npy K it searches once for
//! each line of standard input, and prints the seconds and the indices.

#![expect(clippy::unwrap_used, reason = "a bench that cannot run has nobody to tell but the terminal")]
#![expect(clippy::print_stdout, reason = "what a bench is for")]

use degrain::latent::Codes;
use degrain::latent::search::{ExactSearch, HnswIndex, HnswSettings, Metric, recall, sample};
use degrain::session::Session;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const CODES: usize = 100_000;
const DIM: usize = 128;
const QUERIES: usize = 1000;
const K: usize = 10;
/// Dimensions of the surface that the codes lie on.
const INNER: usize = 12;
const ROUNDS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match &words[..] {
        [codes, queries, k] => serve(Path::new(codes), Path::new(queries), k.parse().unwrap()),
        _ => measure(),
    }
}

/// One search for each line of standard input.
fn serve(codes: &Path, queries: &Path, k: usize) {
    let (codes, queries) = (Codes::read(codes).unwrap(), Codes::read(queries).unwrap());
    let mut search = ExactSearch::new(Session::cpu(), &codes, Metric::Euclidean).unwrap();
    for _ in std::io::stdin().lines() {
        let started = Instant::now();
        let found = search.nearest(queries.values(), k).unwrap();
        let seconds = started.elapsed().as_secs_f64();
        let indices: Vec<Vec<usize>> =
            found.iter().map(|found| found.iter().map(|near| near.index).collect()).collect();
        println!("{}", json!({ "seconds": seconds, "indices": indices }));
    }
}

fn measure() {
    let codes = surface(CODES, 1);
    let rows = sample(CODES, QUERIES, 2);
    let queries: Vec<f32> = rows.iter().filter_map(|&row| codes.get(row)).flatten().copied().collect();
    let ones: Vec<&[f32]> = queries.chunks(DIM).take(100).collect();
    let started = Instant::now();
    let index = HnswIndex::build(&codes, Metric::Euclidean, HnswSettings::default()).unwrap();
    println!("{CODES} codes of {DIM}, k = {K}; medians of {ROUNDS} rounds");
    println!("hnsw: built in {:.1} s", started.elapsed().as_secs_f64());
    let mut search = ExactSearch::new(Session::cpu(), &codes, Metric::Euclidean).unwrap();
    let exact = search.nearest(&queries, K).unwrap();
    let recall = recall(&index.nearest(&queries, K).unwrap(), &exact);
    let many = median(|| drop(search.nearest(&queries, K).unwrap()));
    let one = median(|| ones.iter().for_each(|query| drop(search.nearest(query, K).unwrap()))) / ones.len() as u32;
    let graph = median(|| ones.iter().for_each(|query| drop(index.nearest(query, K).unwrap()))) / ones.len() as u32;
    println!("exact: {QUERIES} queries {many:.1?}, one query {one:.1?}");
    let times = one.as_secs_f64() / graph.as_secs_f64();
    println!("hnsw: one query {graph:.1?}, {times:.1} times as fast, recall@{K} {recall:.4}");
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            run();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[ROUNDS / 2]
}

/// Codes on a curved surface of [`INNER`] dimensions with a little noise, as networks make them.
fn surface(count: usize, seed: u64) -> Codes {
    let mut rng = rand_pcg::Pcg64::seed_from_u64(seed);
    let mut uniform = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0_f32)).collect::<Vec<f32>>();
    let weights = uniform(INNER * DIM);
    let mut values = Vec::with_capacity(count * DIM);
    for _ in 0..count {
        let (inner, noise) = (uniform(INNER), uniform(DIM));
        values.extend((0..DIM).map(|j| {
            let sum = inner.iter().enumerate().map(|(i, value)| value * weights[i * DIM + j]).sum::<f32>();
            sum.tanh() + 0.02 * noise[j]
        }));
    }
    Codes::new(values, DIM).unwrap()
}
