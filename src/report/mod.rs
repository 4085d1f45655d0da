//! What a person sees of a run: figures, picture sheets, curves and one page that holds them all.
//!
//! Everything here is drawn with the bundled font (`data/font`), so that a machine without fonts draws the same bytes.

pub mod animation;
mod axis;
pub mod comparison;
mod font;
pub mod html;
pub mod metrics;
pub mod plot;
mod png;
pub mod pretraining;
pub mod roofline;
pub mod row_meter;
pub mod run_record;
pub mod run_summary;
pub mod scatter;
pub mod sheet;
pub mod sweep;
pub mod tensorboard;

pub use animation::encode_gif;
pub use comparison::compare;
pub use html::{Block, Figure, Page, Table};
pub use metrics::{Meter, Metrics};
pub use plot::{Curve, Plot};
pub use png::{encode_png, write_png};
pub use pretraining::Pretraining;
pub use row_meter::RowMeter;
pub use run_record::RunRecord;
pub use run_summary::RunSummary;
pub use scatter::Scatter;
pub use sheet::{Cell, Sheet};
pub use sweep::{Sweep, SweepPoint};
pub use tensorboard::EventWriter;
