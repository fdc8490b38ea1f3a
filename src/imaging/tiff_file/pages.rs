//! Which page of a TIFF file is the image: the only one, or the one that was asked for.

use super::directory::{Directory, TiffFile};
use super::page::{Compression, Page};
use super::pixel_size::{self, PixelSize};
use super::tag;
use crate::imaging::read::{Reason, Refusal};

/// The page to read and what the file says of its pixel size.
///
/// Smaller copies of an image (the levels of a pyramid, thumbnails) and transparency masks are no pages. Of several
/// pages one must be chosen: number `wanted`, counted from 1.
pub(in crate::imaging) fn choose(file: &mut TiffFile, wanted: Option<usize>) -> Reason<(Page, PixelSize)> {
    let directories = file.directories()?;
    let mut pages = Vec::new();
    for directory in &directories {
        if is_page(file, directory)? {
            pages.push(directory);
        }
    }
    // A file of copies only, which no program should write.
    if pages.is_empty() {
        pages.push(&directories[0]);
    }
    let description = file.description(&directories[0]);
    let (directory, further) = match (pages.as_slice(), imagej_images(&description)) {
        // ImageJ writes one directory for all images of a stack that is larger than 4 GB.
        ([only], images) if images > 1 => (*only, checked(wanted, images)? as u64),
        (pages, _) => (pages[checked(wanted, pages.len())?], 0),
    };
    let mut page = Page::of(file, directory)?;
    if further > 0 {
        if page.compression != Compression::None {
            return Err(Refusal::Unread("a compressed stack with one directory".into()));
        }
        page = page.moved(further)?;
    }
    page.check_chunks(file.length())?;
    let own = file.description(directory);
    let size = pixel_size::of(file, directory, &description, &own)?;
    Ok((page, size))
}

/// The index of the page that is meant, of `count`.
pub(in crate::imaging) fn checked(wanted: Option<usize>, count: usize) -> Reason<usize> {
    match wanted {
        None if count == 1 => Ok(0),
        None => Err(Refusal::Sentence(format!(
            "it has {count} pages or slices, and only one image can be used: give --page with a number from 1 to \
             {count}; of a mask, save the page that is meant as a file of its own"
        ))),
        Some(page) if (1..=count).contains(&page) => Ok(page - 1),
        Some(page) if count == 1 => Err(Refusal::Sentence(format!(
            "page or slice {page} is asked for, and it is a single image; leave --page out for it"
        ))),
        Some(page) => Err(Refusal::Sentence(format!(
            "page or slice {page} is asked for, and it has {count}; give a number from 1 to {count}"
        ))),
    }
}

/// Whether a directory is an image of its own.
fn is_page(file: &mut TiffFile, directory: &Directory) -> Reason<bool> {
    // Bits of NewSubfileType (TIFF 6.0, page 36), and the old SubfileType of a smaller copy.
    const REDUCED: u64 = 1;
    const MASK: u64 = 4;
    let kind = file.integer_of(directory, tag::NEW_SUBFILE_TYPE)?.unwrap_or(0);
    let old_kind = file.integer_of(directory, tag::SUBFILE_TYPE)?.unwrap_or(1);
    Ok(kind & (REDUCED | MASK) == 0 && old_kind != 2)
}

/// How many images the description of ImageJ announces; 1 where there is none.
fn imagej_images(description: &str) -> usize {
    if !description.starts_with("ImageJ=") {
        return 1;
    }
    let value = description.lines().find_map(|line| line.strip_prefix("images="));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_needs_no_choice_and_several_do() {
        assert_eq!(checked(None, 1).unwrap(), 0);
        assert_eq!(checked(Some(3), 3).unwrap(), 2);
        for (wanted, told) in [(None, "3 pages"), (Some(0), "1 to 3"), (Some(4), "1 to 3")] {
            let Err(Refusal::Sentence(reason)) = checked(wanted, 3) else { panic!("{wanted:?} of 3") };
            assert!(reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn imagej_tells_how_many_images_follow() {
        assert_eq!(imagej_images("ImageJ=1.53t\nimages=12\nslices=12\n"), 12);
        assert_eq!((imagej_images("ImageJ=1.53t\nunit=um\n"), imagej_images("images=12")), (1, 1));
    }
}
