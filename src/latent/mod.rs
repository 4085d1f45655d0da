//! What lies behind a code: codes as arrays, their nearest neighbours, how well labels can be told from them, which pictures
//! they do not fit, the ways between codes and to new ones, codes in the plane, and the linear baseline that every
//! autoencoder has to beat.

pub mod anomaly;
pub mod attribute;
pub mod baseline;
pub mod code_files;
pub mod codes;
mod eigen;
pub mod gaussian;
mod logistic;
pub mod manifold;
pub mod morph;
pub mod pca;
pub mod probe;
pub mod projection;
pub mod search;
pub mod tsne;

pub use anomaly::{auroc, reconstruction_errors};
pub use attribute::AttributeVector;
pub use baseline::pca_errors;
pub use code_files::CodeFiles;
pub use codes::{CodeSource, Codes};
pub use gaussian::Gaussian;
pub use manifold::Manifold;
pub use morph::Interpolation;
pub use pca::Pca;
pub use probe::{ClassScore, Classified, LinearProbe};
pub use projection::Projection;
pub use tsne::Tsne;
