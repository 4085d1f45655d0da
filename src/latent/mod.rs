//! What lies behind a code: codes as arrays, their nearest neighbours, and the linear baseline that every autoencoder has to
//! beat.

pub mod codes;
mod eigen;
pub mod pca;
pub mod search;

pub use codes::Codes;
pub use pca::Pca;
