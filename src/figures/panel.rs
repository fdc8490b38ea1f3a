//! The sample panel: planes side by side, with captions above the columns and labels beside the rows.

use image::{Rgb, RgbImage};

use super::{FAINT_INK, INK, WHITE, Weight, place, text_picture};
use crate::imaging::Plane;

/// Planes narrower than this are enlarged, by whole numbers so that their pixels stay squares.
const SMALL: usize = 128;
/// The size to which small planes are enlarged, or just above.
const ENLARGED: usize = 160;
/// Pixels between neighbouring planes.
const GAP: u32 = 8;
/// Pixels around the whole panel, and above a group that has another before it.
const MARGIN: u32 = 16;

/// Planes side by side, such as an image, its translation, and the way back.
#[derive(Debug, Clone)]
pub struct PanelRow<'a> {
    /// What stands to the left: the name of the case.
    pub label: String,
    /// From left to right, one for each caption.
    pub planes: Vec<&'a Plane>,
}

/// Rows with the same captions, such as all examples of one direction.
#[derive(Debug, Clone)]
pub struct PanelGroup<'a> {
    /// What stands above the group: the direction.
    pub title: String,
    /// What stands above each column.
    pub captions: Vec<String>,
    /// From top to bottom.
    pub rows: Vec<PanelRow<'a>>,
}

/// All groups in one picture, one below the other, on white. Small planes are enlarged; black is 0 and white is 1.
///
/// # Panics
/// When a row has more planes than its group has captions.
pub fn panel(groups: &[PanelGroup<'_>]) -> RgbImage {
    let cell = Cell::for_planes(groups.iter().flat_map(|group| &group.rows).flat_map(|row| row.planes.iter().copied()));
    let groups: Vec<GroupText> = groups.iter().map(|group| GroupText::new(group, cell.text_size)).collect();
    let grid = Grid::new(&groups, cell);
    let mut canvas = RgbImage::from_pixel(grid.width(&groups), grid.height(&groups), WHITE);
    let mut top = MARGIN;
    for group in &groups {
        top = grid.draw(group, &mut canvas, top) + MARGIN;
    }
    canvas
}

/// The room each plane gets.
#[derive(Debug, Clone, Copy)]
struct Cell {
    width: u32,
    height: u32,
    enlargement: usize,
    text_size: u32,
}

impl Cell {
    /// Cells that hold the largest of the planes.
    fn for_planes<'a>(planes: impl Iterator<Item = &'a Plane>) -> Self {
        let (height, width) =
            planes.fold((1, 1), |(height, width), plane| (plane.height().max(height), plane.width().max(width)));
        let side = height.max(width);
        let enlargement = if side < SMALL { ENLARGED.div_ceil(side) } else { 1 };
        let (width, height) = ((width * enlargement) as u32, (height * enlargement) as u32);
        // Panels of large planes are looked at reduced: their text grows with them.
        Self { width, height, enlargement, text_size: (width / 20).clamp(18, 64) }
    }
}

/// A group and its text as pictures.
struct GroupText<'a> {
    title: RgbImage,
    captions: Vec<RgbImage>,
    labels: Vec<RgbImage>,
    rows: &'a [PanelRow<'a>],
}

impl<'a> GroupText<'a> {
    fn new(group: &'a PanelGroup<'a>, size: u32) -> Self {
        let draw = |text: &str, ink| text_picture(text, size, Weight::Regular, ink);
        Self {
            title: text_picture(&group.title, size * 9 / 8, Weight::Bold, INK),
            captions: group.captions.iter().map(|caption| draw(caption, INK)).collect(),
            labels: group.rows.iter().map(|row| draw(&row.label, FAINT_INK)).collect(),
            rows: &group.rows,
        }
    }
}

/// Where things stand.
struct Grid {
    cell: Cell,
    column_width: u32,
    label_width: u32,
}

impl Grid {
    /// Columns as wide as a plane or the widest caption; labels as wide as the widest.
    fn new(groups: &[GroupText<'_>], cell: Cell) -> Self {
        let captions = groups.iter().flat_map(|group| &group.captions).map(RgbImage::width);
        let labels = groups.iter().flat_map(|group| &group.labels).map(RgbImage::width);
        Self { cell, column_width: captions.fold(cell.width, u32::max), label_width: labels.max().unwrap_or(0) }
    }

    /// The left edge of a column.
    fn column(&self, index: usize) -> u32 {
        let labels = if self.label_width > 1 { self.label_width + GAP * 3 / 2 } else { 0 };
        MARGIN + labels + index as u32 * (self.column_width + GAP)
    }

    fn width(&self, groups: &[GroupText<'_>]) -> u32 {
        let columns = groups.iter().map(|group| group.captions.len()).max().unwrap_or(0);
        let titles = groups.iter().map(|group| self.column(0) + group.title.width() + GAP);
        titles.fold(self.column(columns), u32::max) - GAP + MARGIN
    }

    fn height(&self, groups: &[GroupText<'_>]) -> u32 {
        groups.iter().map(|group| self.group_height(group) + MARGIN).sum::<u32>() + MARGIN
    }

    /// The height of title and captions.
    fn head_height(&self, group: &GroupText<'_>) -> u32 {
        group.title.height() + group.captions.first().map_or(0, RgbImage::height) + GAP
    }

    fn group_height(&self, group: &GroupText<'_>) -> u32 {
        let rows = group.rows.len() as u32;
        self.head_height(group) + rows * (self.cell.height + GAP) - GAP.min(rows * GAP)
    }

    /// Draws a group below `top` and returns where it ends.
    fn draw(&self, group: &GroupText<'_>, canvas: &mut RgbImage, top: u32) -> u32 {
        place(canvas, &group.title, self.column(0), top);
        for (index, caption) in group.captions.iter().enumerate() {
            let left = self.column(index) + (self.column_width - caption.width()) / 2;
            place(canvas, caption, left, top + group.title.height() + GAP / 2);
        }
        for (index, (row, label)) in group.rows.iter().zip(&group.labels).enumerate() {
            let top = top + self.head_height(group) + index as u32 * (self.cell.height + GAP);
            self.draw_row(row, label, canvas, top);
        }
        top + self.group_height(group)
    }

    fn draw_row(&self, row: &PanelRow<'_>, label: &RgbImage, canvas: &mut RgbImage, top: u32) {
        assert!(
            self.column(row.planes.len()) <= canvas.width() - MARGIN + GAP,
            "the row {} has more planes than there are captions",
            row.label
        );
        let beside = (self.cell.height.saturating_sub(label.height())) / 2;
        place(canvas, label, MARGIN + self.label_width - label.width(), top + beside);
        for (index, plane) in row.planes.iter().enumerate() {
            let picture = enlarge(plane, self.cell.enlargement);
            let left = self.column(index) + (self.column_width - picture.width()) / 2;
            place(canvas, &picture, left, top + (self.cell.height - picture.height()) / 2);
        }
    }
}

/// A plane as a picture, each of its pixels a square of `factor` x `factor`.
fn enlarge(plane: &Plane, factor: usize) -> RgbImage {
    let (width, height) = ((plane.width() * factor) as u32, (plane.height() * factor) as u32);
    RgbImage::from_fn(width, height, |x, y| {
        let value = plane.get(y as usize / factor, x as usize / factor);
        Rgb([(value.clamp(0.0, 1.0) * 255.0).round() as u8; 3])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group<'a>(title: &str, captions: &[&str], rows: &[(&str, &[&'a Plane])]) -> PanelGroup<'a> {
        PanelGroup {
            title: title.to_owned(),
            captions: captions.iter().map(|&caption| caption.to_owned()).collect(),
            rows: rows
                .iter()
                .map(|&(label, planes)| PanelRow { label: label.to_owned(), planes: planes.to_vec() })
                .collect(),
        }
    }

    #[test]
    fn an_enlarged_pixel_is_a_square() {
        let picture = enlarge(&Plane::new(1, 2, vec![0.0, 0.6]), 2);
        let rows: Vec<Vec<u8>> = picture.rows().map(|row| row.map(|pixel| pixel[0]).collect()).collect();
        assert_eq!(rows, [[0, 0, 153, 153], [0, 0, 153, 153]]);
    }

    #[test]
    fn values_outside_the_range_become_black_or_white() {
        let picture = enlarge(&Plane::new(1, 3, vec![-0.5, 1.5, f32::NAN]), 1);
        assert_eq!(picture.pixels().map(|pixel| pixel[0]).collect::<Vec<_>>(), [0, 255, 0]);
    }

    #[test]
    fn only_small_planes_are_enlarged() {
        let enlargement = |side| Cell::for_planes([&Plane::from_fn(side, side, |_, _| 0.0)].into_iter()).enlargement;
        assert_eq!([32, 64, 127, 128, 256].map(enlargement), [5, 3, 2, 1, 1]);
    }

    #[test]
    fn every_plane_is_shown_whole_at_its_place() {
        let planes: Vec<Plane> =
            (1..=4).map(|index| Plane::from_fn(130, 140, |_, _| index as f32 * 0.1 + 0.013)).collect();
        let groups = [
            group("there", &["a", "b"], &[("first", &[&planes[0], &planes[1]])]),
            group("back", &["c", "d"], &[("second", &[&planes[2], &planes[3]])]),
        ];
        let picture = panel(&groups);
        for (index, plane) in planes.iter().enumerate() {
            let grey = Rgb([(plane.get(0, 0) * 255.0).round() as u8; 3]);
            let places: Vec<_> = picture.enumerate_pixels().filter(|(.., pixel)| **pixel == grey).collect();
            let (x_sum, y_sum) = places.iter().fold((0, 0), |(x_sum, y_sum), (x, y, _)| (x_sum + x, y_sum + y));
            let count = places.len() as u32;
            assert!(count >= 130 * 140, "plane {index} is covered");
            assert_eq!(x_sum / count > picture.width() / 2, index % 2 == 1);
            assert_eq!(y_sum / count > picture.height() / 2, index >= 2);
        }
    }

    #[test]
    fn groups_of_different_widths_and_missing_planes_fit() {
        let (wide, small) = (Plane::from_fn(40, 90, |_, _| 0.5), Plane::from_fn(20, 20, |_, _| 0.5));
        let groups = [
            group("a title that is much longer than the planes below it are wide", &["one"], &[("", &[&wide])]),
            group("t", &["one", "a caption wider than a plane, by far", "three"], &[("x", &[&small]), ("y", &[])]),
            group("nothing", &[], &[]),
        ];
        assert!(panel(&groups).width() > 3 * 180);
        assert!(panel(&[]).width() > 0);
    }

    #[test]
    #[should_panic(expected = "more planes than there are captions")]
    fn a_plane_without_a_caption_is_refused() {
        let plane = Plane::from_fn(4, 4, |_, _| 0.5);
        panel(&[group("t", &["one"], &[("row", &[&plane, &plane])])]);
    }
}
