//! The loss on the held-out pictures: as training logs it, and of weights that are given.

use super::batches::Batches;
use super::checkpoint::Weights;
use super::objective::{PartMeans, PartSums};
use super::placement::Placement;
use super::program::{HISTORY, Phase, Recipe, names};
use super::source::{self, Source};
use super::steps::{Next, Steps};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::model::Preset;
use crate::session::Session;

/// Mean loss over the held-out pictures and means of its parts, with the same noise each time.
pub(super) fn validate(
    session: &mut Session,
    source: &mut dyn Source,
    steps: &Steps,
    held_out: &[u32],
) -> Result<(f64, PartMeans)> {
    session.write_words(&names::clock(Phase::Validation), &[0; 4])?;
    let batches = &steps.batches;
    source.begin(session, Phase::Validation, batches.own_order(held_out).into())?;
    let (mut row, mut step, mut sum) = (0, 0, 0.0);
    let mut parts = PartSums::default();
    while let Some(Next { program, taken, follow }) = steps.at(row) {
        let (own_row, size) = (batches.own_row(row), taken.rows);
        let ready = source.prepare(session, own_row)?.saturating_sub(own_row) / taken.own;
        let count = session.ranks().least(follow.min(HISTORY).min(ready.max(1)))?;
        session.run(program, count)?;
        source.look_ahead(session)?;
        let losses = session.read(&names::losses(Phase::Validation))?;
        sum += (step..step + count).map(|s| f64::from(losses[s % HISTORY])).sum::<f64>() * size as f64;
        parts.add(session, Phase::Validation, step, count, size)?;
        row += count * size;
        step += count;
    }
    let pictures = batches.rows() as f64;
    Ok((sum / pictures, parts.means(session, Phase::Validation, pictures)))
}

/// The validation loss of these weights, computed by the very steps that training runs after each epoch: on the same
/// device it has the bits that `metrics.csv` has of the epoch at whose end the network had these weights. It is the whole
/// objective, penalties too, with the preset's noise for validation; none where nothing is held out. The session loses
/// what it held.
///
/// # Errors
/// If the pictures or the weights are not those of the preset's network, or the device has no room.
pub fn validation_loss(
    session: &mut Session,
    preset: &Preset,
    data: &Dataset,
    split: &Split,
    mut weights: Weights,
) -> Result<Option<f64>> {
    if split.held_out.is_empty() {
        return Ok(None);
    }
    let architecture = preset.architecture()?;
    if data.shape != architecture.input {
        let wanted = format!("pictures of {:?}", architecture.input);
        return Err(Error::shape("validation data", wanted, format!("{:?}", data.shape)));
    }
    session.clear()?;
    let (values, rows) = (&data.values, data.len());
    let placed = Placement { preset, architecture: &architecture, values, rows, split, limit: None }.choose(session)?;
    let recipe = Recipe { preset, architecture: &architecture, data: &placed };
    let batches = Batches::new(preset.train.batch, split.held_out.len(), false, session.ranks());
    let steps = Steps::record(session, &recipe, Phase::Validation, batches)?;
    let mut source = source::of(placed, session, values)?;
    for parameter in architecture.saved() {
        let values = weights.take_f32(&parameter.name, &parameter.shape)?;
        // What only training uses is in the file, but in no plan here.
        if session.contains(&parameter.name) {
            session.write(&parameter.name, &values)?;
        }
    }
    weights.finish()?;
    let (loss, _) = validate(session, &mut *source, &steps, &split.held_out)?;
    session.clear()?;
    Ok(Some(loss))
}
