//! Formula and simulation: the same where nothing but messages counts, different where more does.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::model::{Preset, Summary};

#[track_caller]
fn assert_close(a: f64, b: f64, relative: f64) {
    assert!((a / b - 1.0).abs() <= relative, "{a} and {b}");
}

/// 20 ms, 1 ms of update, 4 MB of gradients; a link of 1 GB/s and 10 us.
fn step() -> Step {
    Step::even(32, 0.020, 0.001, 4e6)
}

fn link() -> Link {
    Link { latency_s: 10e-6, bytes_per_s: 1e9 }
}

fn cluster() -> Cluster {
    Cluster::flat(link())
}

/// Four buckets of which the first is ready after a quarter of the step.
fn overlapping() -> Step {
    let bucket = |i: u32| Bucket { bytes: 1e6, ready_s: 0.005 * f64::from(i) };
    Step { buckets: (1..=4).map(bucket).collect(), ..step() }
}

#[test]
fn a_step_of_four_by_hand() {
    // 2 x 3 messages of 1 MB; 4 MB out, summed, and back at 10 GB/s each.
    let wanted = 0.021 + 6.0 * (10e-6 + 1e-3) + 3.0 * 0.4e-3;
    assert_close(Formula::of(&step(), &cluster(), 4).seconds(), wanted, 1e-12);
    assert_close(simulate(&step(), &cluster(), 4, 1), wanted, 1e-12);
    let formula = Formula::of(&step(), &cluster(), 4);
    assert_close(formula.latency_s, 60e-6, 1e-12);
    assert_close(formula.bandwidth_s, 6e-3, 1e-12);
    assert_close(formula.host_s, 1.2e-3, 1e-12);
    assert_eq!((formula.hidden_s, formula.noise_s), (0.0, 0.0));
    assert_eq!(messages(&step(), 4), 24);
}

#[test]
fn both_agree_where_only_messages_count() {
    let late = Step { buckets: vec![Bucket { bytes: 1.3e6, ready_s: 0.020 }; 3], ..step() };
    let uneven = Step { buckets: [5e6, 1e3, 2e5].map(|bytes| Bucket { bytes, ready_s: 0.020 }).to_vec(), ..step() };
    for step in [&step(), &late, &uneven] {
        for ranks in [1, 2, 3, 4, 7, 32, 200] {
            let formula = Formula::of(step, &cluster(), ranks);
            assert_close(simulate(step, &cluster(), ranks, 1), formula.seconds(), 1e-9);
        }
    }
    let none = Step { buckets: Vec::new(), ..step() };
    assert_close(simulate(&none, &cluster(), 9, 1), none.seconds(), 1e-12);
    // Nothing of the exchange is needed by one rank.
    assert_close(Formula::of(&late, &cluster(), 1).seconds(), 0.021, 1e-12);
}

#[test]
fn an_exchange_during_the_backward_pass_lies_between_its_bounds() {
    for ranks in [2, 4, 16, 64] {
        let all = Step { buckets: vec![Bucket { bytes: 1e6, ready_s: 0.020 }; 4], ..step() };
        let after = simulate(&all, &cluster(), ranks, 1);
        let during = simulate(&overlapping(), &cluster(), ranks, 1);
        let least = Formula::of(&overlapping(), &cluster(), ranks);
        assert!(least.hidden_s > 0.0 && during >= least.seconds() - 1e-12, "{during} for {ranks}");
        // All but the last bucket is hidden, or the link is never idle from the first one on.
        assert!(during <= after - 0.9 * least.hidden_s, "{during} and {after} for {ranks}");
    }
    // The last bucket is ready when the others are done: the formula sees no pause, and there is none.
    let quick = simulate(&overlapping(), &cluster(), 2, 1);
    assert_close(quick, Formula::of(&overlapping(), &cluster(), 2).seconds(), 1e-9);
    // A pause that the formula does not know: the second bucket is late, and the third waits for it.
    let mut paused = overlapping();
    paused.buckets[1] = Bucket { bytes: 1e6, ready_s: 0.0199 };
    paused.buckets[2] = Bucket { bytes: 1e6, ready_s: 0.0199 };
    let (simulated, formula) = (simulate(&paused, &cluster(), 8, 1), Formula::of(&paused, &cluster(), 8).seconds());
    assert!(simulated > 1.05 * formula, "{simulated} and {formula}");
}

#[test]
fn ranks_of_a_node_share_its_link() {
    let node = Node { ranks: 8, link: Link::named("nvlink").unwrap() };
    let shared = Cluster { node: Some(node), ..cluster() };
    for ranks in [16, 64, 128] {
        let simulated = simulate(&step(), &shared, ranks, 1);
        let alone = Formula::of(&step(), &cluster(), ranks).seconds();
        // Each node sends what its eight ranks have for the ranks of other nodes, twice.
        let bytes = 2.0 * 8.0 * 4e6 * (ranks - 8) as f64 / ranks as f64;
        assert!(simulated > alone + 0.5 * bytes / 1e9, "{simulated} and {alone} for {ranks}");
        assert!(simulated >= 0.021 + bytes / 1e9, "{simulated} for {ranks}");
        let most = Formula::of(&step(), &shared, ranks).seconds();
        // The formula lets all of a round end before the next one begins; here ranks drift apart by a message or two.
        assert_close(simulated, most, 0.02);
    }
    // Within one node the network is not used.
    let slow = Cluster { network: Link { latency_s: 1.0, bytes_per_s: 1.0 }, ..shared };
    for ranks in [2, 8] {
        let inside = Formula::of(&step(), &Cluster { network: node.link, node: None, ..shared }, ranks).seconds();
        assert_close(Formula::of(&step(), &slow, ranks).seconds(), inside, 1e-9);
        assert_close(simulate(&step(), &slow, ranks, 1), inside, 1e-9);
    }
    // Nodes of one rank are no nodes.
    let single = Cluster { node: Some(Node { ranks: 1, ..node }), ..cluster() };
    assert_close(simulate(&step(), &single, 6, 1), simulate(&step(), &cluster(), 6, 1), 1e-12);
    assert_close(Formula::of(&step(), &single, 6).seconds(), Formula::of(&step(), &cluster(), 6).seconds(), 1e-9);
}

#[test]
fn all_wait_for_the_slowest() {
    let noisy = Cluster { noise: 0.05, ..cluster() };
    for ranks in [1, 4, 64] {
        let seeds = 300;
        let mean = (0..seeds).map(|seed| simulate(&step(), &noisy, ranks, seed)).sum::<f64>() / seeds as f64;
        assert_close(mean, Formula::of(&step(), &noisy, ranks).seconds(), 0.01);
    }
    assert_eq!(simulate(&step(), &noisy, 5, 7), simulate(&step(), &noisy, 5, 7));
    assert!(simulate(&step(), &noisy, 5, 7) != simulate(&step(), &noisy, 5, 8));
    // 1 + 1/2 + 1/3.
    assert_close(Formula::of(&step(), &noisy, 3).noise_s, 0.020 * 0.05 * 11.0 / 6.0, 1e-12);
}

#[test]
fn what_stops_it_is_told() {
    let of = |latency_us, gigabits, ranks| Formula::of(&step(), &Cluster::flat(Link::new(latency_us, gigabits)), ranks);
    assert_eq!((of(1.0, 400.0, 8).limit(), of(1.0, 400.0, 1).loss()), (Limit::Compute, Limit::Compute));
    assert_eq!((of(1.0, 1.0, 64).limit(), of(1.0, 20.0, 8).loss()), (Limit::Bandwidth, Limit::Bandwidth));
    assert_eq!(of(100.0, 400.0, 512).limit(), Limit::Latency);
    assert_eq!(of(0.1, 4000.0, 16).loss(), Limit::Host);
    let noisy = Cluster { noise: 0.3, ..Cluster::flat(Link::new(1.0, 400.0)) };
    assert_eq!(Formula::of(&step(), &noisy, 64).loss(), Limit::Noise);
}

#[test]
fn buckets_hold_all_gradients_in_the_order_of_the_backward_pass() {
    let network = Summary::of(&Preset::load("lfw-conv").unwrap()).unwrap();
    for (bucket_bytes, overlap) in [(0.0, true), (1e6, true), (1e9, true), (1e6, false)] {
        let buckets = bucketed(&network, 0.020, bucket_bytes, overlap);
        let bytes: f64 = buckets.iter().map(|bucket| bucket.bytes).sum();
        assert_eq!(bytes, 4.0 * 843_171.0);
        assert!(buckets.is_sorted_by(|a, b| a.ready_s <= b.ready_s));
        assert!(buckets.iter().rev().skip(1).all(|bucket| bucket.bytes >= bucket_bytes));
        assert_eq!(buckets.len() == 1, bucket_bytes == 1e9);
        let last = buckets.last().unwrap().ready_s;
        assert_close(last, 0.020, 1e-9);
        // The forward pass comes first, about a third of the whole.
        let first = buckets[0].ready_s;
        assert!(if overlap { first > 0.006 } else { first == 0.020 }, "{first}");
    }
}

#[test]
fn links_have_their_names() {
    assert!(LINKS.iter().all(|link| Link::named(link.0).is_some_and(|found| found.bytes_per_s > 1e8)));
    assert_eq!(Link::named("ethernet-10g"), Some(Link::new(30.0, 10.0)));
    assert_eq!(Link::named("string"), None);
}
