//! `degrain validate --vectors DIR`: cases from elsewhere, as a table or as JSON.

use super::console::{Console, count};
use degrain::Result;
use degrain::session::Session;
use degrain::validate::vectors::{self, Outcome, VectorResult};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    device: &'a str,
    /// Cases that were compared, or that could not be understood.
    checked: usize,
    /// Cases that failed, those that are not supported among them unless these are allowed.
    failed: usize,
    /// Cases of an op, attribute, value or gradient that is not supported.
    unsupported: usize,
    ops: Vec<OpRow<'a>>,
    cases: Vec<CaseRow<'a>>,
}

/// All cases of one op in one direction on one backend.
#[derive(Serialize)]
struct OpRow<'a> {
    op: &'a str,
    /// `reference`, or the device.
    variant: &'a str,
    direction: String,
    cases: usize,
    failed: usize,
    /// Largest error in parts of what its case allows; null where it is not finite.
    worst: f64,
    /// What `worst` may be: errors are told in parts of what the case's own rtol and atol allow.
    tolerance: f64,
}

/// One comparison, or a case that came to none.
#[derive(Serialize)]
struct CaseRow<'a> {
    case: &'a str,
    op: &'a str,
    direction: Option<String>,
    backend: Option<&'a str>,
    worst: Option<f64>,
    failed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Runs all cases in `dir` on the reference and on the session, prints the result, and tells how many cases there
/// were and how many failed.
/// Cases that are not supported count as failed unless `allow_unsupported`.
///
/// # Errors
/// If `dir` cannot be read or has no case, or if the result cannot be written.
pub(super) fn run(dir: &Path, session: &mut Session, allow_unsupported: bool, console: &Console) -> Result<[usize; 2]> {
    let device = session.device().to_owned();
    let results = vectors::run(dir, session)?;
    let report = Report::new(&device, &results, allow_unsupported);
    console.result(&report, report.text())?;
    Ok([report.checked.max(report.failed), report.failed])
}

impl<'a> Report<'a> {
    fn new(device: &'a str, results: &'a [VectorResult], allow_unsupported: bool) -> Self {
        let names = |wanted: fn(&VectorResult) -> bool| -> BTreeSet<&str> {
            results.iter().filter(|result| wanted(result)).map(|result| result.case.as_str()).collect()
        };
        let unsupported = names(VectorResult::is_unsupported);
        let failed = names(VectorResult::is_failure);
        let compared = names(|result| !result.is_unsupported());
        let not_allowed = if allow_unsupported { 0 } else { unsupported.difference(&failed).count() };
        Self {
            device,
            checked: compared.len(),
            failed: failed.len() + not_allowed,
            unsupported: unsupported.len(),
            ops: op_rows(results),
            cases: results.iter().map(|result| CaseRow::new(result, allow_unsupported)).collect(),
        }
    }

    /// A row for each op, then every problem on a line of its own.
    fn text(&self) -> String {
        let mut text = String::new();
        let width = self.ops.iter().map(|row| row.variant.chars().count()).max().unwrap_or(0);
        // Writing to a String cannot fail.
        for row in &self.ops {
            let OpRow { op, variant, direction, cases, failed, worst, .. } = row;
            let cases = count(*cases, "case");
            let _ = write!(text, "{op:<17} {direction:<9} {variant:<width$}  {cases:>10}  worst {worst:>8.1e}");
            let _ = if *failed > 0 { writeln!(text, "  {failed} FAILED") } else { writeln!(text) };
        }
        for row in self.cases.iter().filter(|row| row.problem.is_some()) {
            let direction = row.direction.as_deref().map_or_else(String::new, |direction| format!(" {direction}"));
            let backend = row.backend.map_or_else(String::new, |backend| format!(" on {backend}"));
            let problem = row.problem.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}{direction}{backend}: {problem}", row.case);
        }
        let checked = count(self.checked, "case");
        let _ = write!(text, "{checked} checked, {} failed", self.failed);
        if self.unsupported > 0 {
            let _ = write!(text, ", {} not supported", self.unsupported);
        }
        text
    }
}

impl<'a> CaseRow<'a> {
    fn new(result: &'a VectorResult, allow_unsupported: bool) -> Self {
        let (worst, failed, problem) = match &result.outcome {
            Outcome::Passed { worst } => (Some(*worst), false, None),
            Outcome::Failed { worst, problem } => (*worst, true, Some(problem.clone())),
            Outcome::Unsupported { what } => (None, !allow_unsupported, Some(format!("not supported: {what}"))),
        };
        Self {
            case: &result.case,
            op: &result.op,
            direction: result.direction.map(|direction| direction.to_string()),
            backend: result.backend.as_deref(),
            worst,
            failed,
            problem,
        }
    }
}

/// One row for each op, direction and backend that was compared, in the order of their names.
fn op_rows(results: &[VectorResult]) -> Vec<OpRow<'_>> {
    let mut rows: Vec<OpRow<'_>> = Vec::new();
    for result in results {
        let (Some(direction), Some(variant)) = (result.direction, result.backend.as_deref()) else { continue };
        let (op, direction) = (result.op.as_str(), direction.to_string());
        let worst = match &result.outcome {
            Outcome::Passed { worst } => *worst,
            Outcome::Failed { worst, .. } => worst.unwrap_or(f64::INFINITY),
            Outcome::Unsupported { .. } => continue,
        };
        let known = rows.iter_mut().find(|row| (row.op, row.variant, &row.direction) == (op, variant, &direction));
        let failed = usize::from(result.is_failure());
        match known {
            Some(row) => {
                row.cases += 1;
                row.failed += failed;
                row.worst = row.worst.max(worst);
            }
            None => rows.push(OpRow { op, variant, direction, cases: 1, failed, worst, tolerance: 1.0 }),
        }
    }
    rows.sort_by(|a, b| (a.op, a.variant).cmp(&(b.op, b.variant)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use degrain::validate::vectors::{Direction, REFERENCE};

    fn row(case: &str, direction: Option<Direction>, outcome: Outcome) -> VectorResult {
        let backend = direction.map(|_| REFERENCE.to_owned());
        VectorResult { case: case.to_owned(), op: "relu".to_owned(), direction, backend, outcome }
    }

    #[test]
    fn cases_are_counted_once_and_unsupported_ones_fail_unless_allowed() {
        let forward = Some(Direction::Forward);
        let results = [
            row("good", forward, Outcome::Passed { worst: 0.5 }),
            row("good", Some(Direction::Backward), Outcome::Passed { worst: 0.25 }),
            row("bad", forward, Outcome::Failed { worst: Some(f64::INFINITY), problem: "y.npy".to_owned() }),
            row("bad", Some(Direction::Backward), Outcome::Failed { worst: None, problem: "dx.npy".to_owned() }),
            row("odd", None, Outcome::Unsupported { what: "op `odd`".to_owned() }),
        ];
        let report = Report::new("device", &results, false);
        assert_eq!((report.checked, report.failed, report.unsupported), (2, 2, 1));
        let report = Report::new("device", &results, true);
        assert_eq!((report.checked, report.failed, report.unsupported), (2, 1, 1));
        assert_eq!(report.cases.iter().filter(|row| row.failed).count(), 2);
        assert_eq!(report.ops.len(), 2);
        assert_eq!((report.ops[0].cases, report.ops[0].failed), (2, 1));
        let text = report.text();
        assert!(text.contains("bad forward on reference: y.npy") && text.contains("odd: not supported: op `odd`"));
        assert!(text.ends_with("2 cases checked, 1 failed, 1 not supported"), "{text}");
        assert!(serde_json::to_string(&report).is_ok_and(|json| json.contains(r#""worst":null"#)));
    }
}
