//! Pictures one by one, at their own size: photos that need not fit into memory together.

use crate::data::archive::{self, Packing};
use crate::data::kind::Kind;
use crate::data::{Skipped, folder, picture};
use crate::error::{Error, Result};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One picture at its own size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Photo {
    /// Height, width, and channels: 1 (grey) or 3 (red, green, blue).
    pub size: [usize; 3],
    /// (H, W, C), on white where the file is transparent, turned as its EXIF says.
    pub pixels: Vec<u8>,
}

/// The pictures of a file, folder or archive, by name and not yet decoded.
///
/// ```no_run
/// use degrain::data::Photos;
///
/// let photos = Photos::list("holiday.zip".as_ref())?;
/// let unread = photos.each(&mut |number, photo| {
///     println!("{}: {:?}", photos.names()[number], photo.size);
///     Ok(())
/// })?;
/// assert!(unread.is_empty());
/// # Ok::<(), degrain::Error>(())
/// ```
#[derive(Debug)]
pub struct Photos {
    path: PathBuf,
    source: Source,
    names: Vec<String>,
    skipped: Vec<Skipped>,
}

#[derive(Debug)]
enum Source {
    /// The file of each picture.
    Files(Vec<PathBuf>),
    Archive(Packing),
}

impl Photos {
    /// Whether there is a picture, a folder of pictures or an archive at `path`, and no array.
    ///
    /// # Errors
    /// A path that is not there, or nothing that can be read.
    pub fn are_at(path: &Path) -> Result<bool> {
        Ok(match Kind::of(path)? {
            Kind::Picture | Kind::Archive(_) => true,
            Kind::Folder => !folder::list(path)?.is_without_pictures(),
            _ => false,
        })
    }

    /// Looks for the pictures of `path`.
    ///
    /// # Errors
    /// A path that is not there, that is an array, or that holds no pictures; an archive that is damaged.
    pub fn list(path: &Path) -> Result<Self> {
        let (source, names, skipped) = match Kind::of(path)? {
            Kind::Picture => {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                (Source::Files(vec![path.to_path_buf()]), vec![name], Vec::new())
            }
            Kind::Folder => {
                let listing = folder::list(path)?;
                let (names, files) = listing.pictures().map(|(name, file)| (name.to_owned(), file.to_owned())).unzip();
                (Source::Files(files), names, listing.skipped)
            }
            Kind::Archive(packing) => {
                let contents = archive::read(path, packing, &picture::size, &())?;
                let (good, bad): (Vec<_>, Vec<_>) = contents.pictures.into_iter().partition(|p| p.pixels.is_ok());
                let reasons = bad.into_iter().filter_map(|p| Some(Skipped { path: p.name, reason: p.pixels.err()? }));
                let skipped = contents.skipped.into_iter().chain(reasons).collect();
                (Source::Archive(packing), good.into_iter().map(|p| p.name).collect(), skipped)
            }
            _ => {
                let problem =
                    "is an array, whose pictures have one size: only picture files are taken at their own size";
                return Err(Error::file(path, problem));
            }
        };
        match skipped.first() {
            _ if !names.is_empty() => Ok(Self { path: path.to_path_buf(), source, names, skipped }),
            Some(Skipped { path: file, reason }) => {
                Err(Error::file(path, format!("none of its pictures can be used; the first, {file}: {reason}")))
            }
            None => Err(Error::file(path, "holds no pictures")),
        }
    }

    /// Names of the pictures, by path inside the folder or archive.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Files that look like pictures and are known to be none.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The files that the pictures lie in.
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.source {
            Source::Files(files) => files.clone(),
            Source::Archive(_) => vec![self.path.clone()],
        }
    }

    /// Decodes the pictures one after the other and hands each to `each`, with its place among the names; those of an
    /// archive in the order in which they are unpacked. Memory holds a few of them. Returns those that cannot be used.
    ///
    /// # Errors
    /// As `each` fails, which ends it, or an archive that is damaged.
    pub fn each(&self, each: &mut (dyn FnMut(usize, Photo) -> Result<()> + Send)) -> Result<Vec<Skipped>> {
        match &self.source {
            Source::Files(files) => self.each_file(files, each),
            Source::Archive(packing) => self.each_entry(*packing, each),
        }
    }

    fn each_file(&self, files: &[PathBuf], each: &mut dyn FnMut(usize, Photo) -> Result<()>) -> Result<Vec<Skipped>> {
        let mut skipped = Vec::new();
        for (number, (file, name)) in files.iter().zip(&self.names).enumerate() {
            match read(file).and_then(|bytes| decode(name, &bytes)) {
                Ok(photo) => each(number, photo)?,
                Err(reason) if self.path == *file => return Err(Error::file(file, reason)),
                Err(reason) => skipped.push(Skipped { path: name.clone(), reason }),
            }
        }
        Ok(skipped)
    }

    fn each_entry(
        &self,
        packing: Packing,
        each: &mut (dyn FnMut(usize, Photo) -> Result<()> + Send),
    ) -> Result<Vec<Skipped>> {
        let mut places: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (number, name) in self.names.iter().enumerate() {
            places.entry(name).or_default().push_back(number);
        }
        // Decoders run ahead in threads of their own; what is done with a photo is done by one of them at a time.
        let state = Mutex::new((places, each, None));
        let hand_on = |name: &str, bytes: &[u8]| -> Result<(), String> {
            let lock = || state.lock().unwrap_or_else(PoisonError::into_inner);
            if lock().2.is_some() {
                return Ok(());
            }
            let photo = decode(name, bytes)?;
            let (places, each, failed) = &mut *lock();
            if let (Some(number), None) = (places.get_mut(name).and_then(VecDeque::pop_front), &failed) {
                *failed = each(number, photo).err();
            }
            Ok(())
        };
        let contents = archive::read(&self.path, packing, &hand_on, &())?;
        if let Some(error) = state.into_inner().unwrap_or_else(PoisonError::into_inner).2 {
            return Err(error);
        }
        let is_new = |skipped: &Skipped| !self.skipped.contains(skipped);
        let reasons =
            contents.pictures.into_iter().filter_map(|p| Some(Skipped { path: p.name, reason: p.pixels.err()? }));
        Ok(contents.skipped.into_iter().chain(reasons).filter(is_new).collect())
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    picture::check_size(fs::metadata(file).map_err(|e| e.to_string())?.len())?;
    fs::read(file).map_err(|e| e.to_string())
}

fn decode(name: &str, bytes: &[u8]) -> Result<Photo, String> {
    let (pixels, size) = picture::whole(name, bytes)?;
    Ok(Photo { size, pixels })
}
