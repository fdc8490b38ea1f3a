//! Objects of a segmentation: the connected components of a class, and which objects of two segmentations are the same.
//!
//! Pixels that touch at a side or at a corner belong together (8-connected), unless said otherwise: a ring of myelin one
//! pixel wide would fall to pieces on its slanted parts. Objects are kept as runs along rows, so that the memory they need grows
//! with their outline and not with the image.

use crate::imaging::LabelMap;
use std::collections::HashMap;

/// The pixels of a label map that hold one class.
#[derive(Debug, Clone, Copy)]
pub struct Region<'a> {
    /// The label map.
    pub labels: &'a LabelMap,
    /// The number of the class in it.
    pub class: u8,
}

impl Region<'_> {
    /// Height and width of the label map.
    pub fn size(&self) -> [usize; 2] {
        [self.labels.height(), self.labels.width()]
    }

    /// Whether each pixel has the class, row by row.
    pub fn pixels(&self) -> impl Iterator<Item = bool> {
        self.labels.classes().iter().map(|class| *class == self.class)
    }
}

/// Neighbouring pixels of one row that belong to one object.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Column of the first pixel.
    start: u32,
    /// Column after the last pixel.
    end: u32,
    /// Index of the object.
    object: u32,
}

impl Run {
    /// How many columns of a run that it overlaps are its own as well.
    fn shared(&self, other: &Self) -> u64 {
        u64::from(self.end.min(other.end) - self.start.max(other.start))
    }
}

/// The objects of a region, numbered from 0 in the order of their first pixels, row by row.
#[derive(Debug, Clone)]
pub struct Objects {
    size: [usize; 2],
    /// Row by row, from left to right.
    runs: Vec<Run>,
    /// The runs of row `y` are `runs[rows[y]..rows[y + 1]]`.
    rows: Vec<usize>,
    areas: Vec<u64>,
}

impl Objects {
    /// Finds the objects of a region.
    ///
    /// # Panics
    /// When the image has 2^32 columns or the region 2^32 runs, far more than an image that is read can have.
    pub fn of(region: Region<'_>) -> Self {
        let [_, width] = region.size();
        let mut finder = ObjectFinder::new(width, Contact::SideOrCorner);
        for row in region.labels.classes().chunks_exact(width.max(1)) {
            finder.push_row(row, |class| *class == region.class);
        }
        finder.finish()
    }

    /// Height and width of the image.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// How many objects there are.
    pub fn count(&self) -> usize {
        self.areas.len()
    }

    /// The pixels of each object.
    pub fn areas(&self) -> &[u64] {
        &self.areas
    }

    /// Whether each pixel belongs to an object whose index `wanted` accepts, row by row.
    pub fn mask(&self, wanted: impl Fn(usize) -> bool) -> Vec<bool> {
        let [height, width] = self.size;
        let mut mask = vec![false; height * width];
        for y in 0..height {
            for run in self.row(y).iter().filter(|run| wanted(run.object as usize)) {
                mask[y * width..][run.start as usize..run.end as usize].fill(true);
            }
        }
        mask
    }

    /// How many pixels of each object lie in objects of another segmentation of the image.
    ///
    /// # Panics
    /// When that is of an image of another size.
    pub fn areas_in(&self, others: &Self) -> Vec<u64> {
        assert_eq!(self.size, others.size, "objects of images (height, width) of different sizes cannot meet");
        let mut areas = vec![0; self.count()];
        for y in 0..self.size[0] {
            let (own, other) = (self.row(y), others.row(y));
            each_meeting(own, other, Contact::Side, |i, j| areas[own[i].object as usize] += own[i].shared(&other[j]));
        }
        areas
    }

    /// The objects that reach the border of the image.
    pub fn on_border(&self) -> Vec<bool> {
        let [height, width] = self.size;
        let mut on_border = vec![false; self.count()];
        for y in 0..height {
            let is_outer = y == 0 || y + 1 == height;
            for run in self.row(y).iter().filter(|run| is_outer || run.start == 0 || run.end as usize == width) {
                on_border[run.object as usize] = true;
            }
        }
        on_border
    }

    /// The object at row `y`, column `x`.
    pub fn at(&self, y: usize, x: usize) -> Option<usize> {
        let row = self.row(y);
        let run = row.get(row.partition_point(|run| run.end as usize <= x))?;
        (run.start as usize <= x).then_some(run.object as usize)
    }

    /// Gives the runs of each tree one number and adds up their pixels.
    fn number(&mut self, mut forest: Forest) {
        for index in 0..self.runs.len() {
            let root = forest.root(index);
            // A root is the first run of its tree, so it has its number already.
            let object = if root == index { self.areas.len() as u32 } else { self.runs[root].object };
            if root == index {
                self.areas.push(0);
            }
            let run = &mut self.runs[index];
            run.object = object;
            self.areas[object as usize] += u64::from(run.end - run.start);
        }
    }

    fn row(&self, y: usize) -> &[Run] {
        &self.runs[self.rows[y]..self.rows[y + 1]]
    }
}

/// Finds the objects of an image that comes row by row, from the top.
pub struct ObjectFinder {
    contact: Contact,
    objects: Objects,
    forest: Forest,
    /// The first run of the row above.
    above: usize,
}

impl ObjectFinder {
    /// For rows of `width` pixels, of which those in contact belong together.
    pub fn new(width: usize, contact: Contact) -> Self {
        let objects = Objects { size: [0, width], runs: Vec::new(), rows: vec![0], areas: Vec::new() };
        Self { contact, objects, forest: Forest(Vec::new()), above: 0 }
    }

    /// Takes the next row, and which of its pixels belong to objects.
    ///
    /// # Panics
    /// When the row has another width; see also [`Objects::of`].
    pub fn push_row<T>(&mut self, row: &[T], is_inside: impl Fn(&T) -> bool) {
        let Self { contact, objects, forest, above } = self;
        assert_eq!(row.len(), objects.size[1], "rows of an image have one width");
        let here = objects.runs.len();
        let mut column = 0;
        for pixels in row.chunk_by(|a, b| is_inside(a) == is_inside(b)) {
            let end = column + pixels.len();
            if is_inside(&pixels[0]) {
                let at = |column: usize| u32::try_from(column).expect("an image has fewer than 2^32 columns");
                objects.runs.push(Run { start: at(column), end: at(end), object: 0 });
            }
            column = end;
        }
        forest.plant(objects.runs.len());
        each_meeting(&objects.runs[*above..here], &objects.runs[here..], *contact, |a, b| {
            forest.join(*above + a, here + b);
        });
        objects.rows.push(objects.runs.len());
        objects.size[0] += 1;
        *above = here;
    }

    /// The objects of the rows so far.
    pub fn finish(mut self) -> Objects {
        self.objects.number(self.forest);
        self.objects
    }
}

/// The pairs `[index in a, index in b]` of objects that are the same: their intersection is at least half of their union.
///
/// Each object is in one pair at most, though an intersection over union (IoU) of exactly 1/2 counts. Of disjoint
/// objects `b` and `c`, both with IoU >= 1/2 to `a`, each must be half of `a`, and together they are `a`; but then they
/// touch, since `a` is connected, and would be one object.
///
/// # Panics
/// When the images differ in size.
pub fn matches(a: &Objects, b: &Objects) -> Vec<[usize; 2]> {
    assert_eq!(a.size, b.size, "objects of images (height, width) of different sizes cannot be compared");
    let mut shared: HashMap<[u32; 2], u64> = HashMap::new();
    for y in 0..a.size[0] {
        let (row_a, row_b) = (a.row(y), b.row(y));
        each_meeting(row_a, row_b, Contact::Side, |i, j| {
            let (run_a, run_b) = (row_a[i], row_b[j]);
            *shared.entry([run_a.object, run_b.object]).or_default() += run_a.shared(&run_b);
        });
    }
    let pairs = shared.into_iter().map(|(pair, pixels)| (pair.map(|object| object as usize), pixels));
    // both / (a + b - both) >= 1/2, in whole numbers.
    let mut same: Vec<[usize; 2]> =
        pairs.filter(|([i, j], both)| 3 * both >= a.areas[*i] + b.areas[*j]).map(|(pair, _)| pair).collect();
    same.sort_unstable();
    same
}

/// How pixels of neighbouring rows must touch to belong together, and so when two runs meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact {
    /// At a side: the runs share a column.
    Side,
    /// At a side or a corner: they share a column or end in columns beside each other.
    SideOrCorner,
}

/// Calls `meet` with the indices of each two runs, one of each row, that meet.
fn each_meeting(a: &[Run], b: &[Run], contact: Contact, mut meet: impl FnMut(usize, usize)) {
    let reach = u32::from(contact == Contact::SideOrCorner);
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if a[i].start < b[j].end + reach && b[j].start < a[i].end + reach {
            meet(i, j);
        }
        // Between runs of one row there is a gap, so that the run which ends first can meet no further one.
        if a[i].end < b[j].end { i += 1 } else { j += 1 }
    }
}

/// Trees of runs, as the parent of each run (union-find). The root of a tree is its first run.
struct Forest(Vec<u32>);

impl Forest {
    /// Makes each new run a tree of its own, up to `count` runs in all.
    fn plant(&mut self, count: usize) {
        let end = u32::try_from(count).expect("an image has fewer than 2^32 runs");
        self.0.extend(self.0.len() as u32..end);
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] as usize != index {
            // Halving the path keeps trees flat.
            self.0[index] = self.0[self.0[index] as usize];
            index = self.0[index] as usize;
        }
        index
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b) as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// A map from rows of text, in which `#` is class 1.
    fn map(rows: &[&str]) -> LabelMap {
        let classes = rows.concat().bytes().map(|byte| u8::from(byte == b'#')).collect();
        LabelMap::new(rows.len(), rows[0].len(), classes)
    }

    fn objects(labels: &LabelMap) -> Objects {
        Objects::of(Region { labels, class: 1 })
    }

    #[test]
    fn pixels_that_touch_at_a_corner_are_one_object_on_both_slants() {
        assert_eq!(objects(&map(&["#..", ".#.", "..#"])).areas(), [3]);
        assert_eq!(objects(&map(&["..#", ".#.", "#.."])).areas(), [3]);
        assert_eq!(objects(&map(&["#.#", "...", "#.#"])).areas(), [1, 1, 1, 1]);
        assert_eq!(objects(&map(&["##", "..", "##"])).areas(), [2, 2]);
    }

    #[test]
    fn arms_that_join_late_are_one_object_and_rows_do_not_wrap() {
        let comb = map(&["#.#.#", "#.#.#", "#####", ".....", "#...#"]);
        assert_eq!(objects(&comb).areas(), [11, 1, 1]);
        assert_eq!(objects(&map(&["..#", "...", "#.."])).areas(), [1, 1]);
        let spiral = map(&["#####", "#...#", "#.#.#", "#.#.#", "#.###", "....."]);
        assert_eq!(objects(&spiral).areas(), [17]);
    }

    #[test]
    fn only_the_class_asked_for_counts() {
        let labels = LabelMap::new(1, 5, vec![1, 2, 2, 1, 0]);
        let areas = |class| Objects::of(Region { labels: &labels, class }).areas().to_vec();
        assert_eq!((areas(1), areas(2), areas(3)), (vec![1, 1], vec![2], vec![]));
    }

    #[test]
    fn the_part_of_each_object_in_others_is_counted_by_pixel() {
        let two = objects(&map(&["##..#", "#...#"]));
        assert_eq!(two.areas_in(&objects(&map(&[".##.#", "#...."]))), [2, 1]);
        assert_eq!(two.areas_in(&objects(&map(&[".....", "....."]))), [0, 0]);
    }

    #[test]
    fn objects_that_touch_at_sides_only_are_found_by_place_and_at_the_border() {
        let labels = map(&["#....", ".##..", ".#..#", "....."]);
        let mut finder = ObjectFinder::new(5, Contact::Side);
        labels.classes().chunks_exact(5).for_each(|row| finder.push_row(row, |class| *class == 1));
        let found = finder.finish();
        assert_eq!((found.areas(), found.size()), (&[1, 3, 1][..], [4, 5]));
        assert_eq!(found.on_border(), [true, false, true]);
        assert_eq!(
            [(0, 0), (0, 1), (1, 2), (2, 4), (3, 4)].map(|(y, x)| found.at(y, x)),
            [Some(0), None, Some(1), Some(2), None]
        );
    }

    #[test]
    fn objects_match_from_an_overlap_of_one_half_on() {
        let same = |a: &[&str], b: &[&str]| matches(&objects(&map(a)), &objects(&map(b)));
        assert_eq!(same(&["##.#"], &["#..#"]), [[0, 0], [1, 1]], "1/2 and 1");
        assert_eq!(same(&["###."], &["..##"]), [[0usize; 2]; 0], "1/4");
        assert_eq!(same(&["##.##"], &["#####"]), [[0usize; 2]; 0], "two halves with a gap: 2/5 each");
        assert_eq!(same(&["...", "###", "###"], &["###", "###", "..."]), [[0usize; 2]; 0], "1/3");
        assert_eq!(same(&["....", ".##.", ".##."], &["#...", "..##", ".###"]), [[0, 1]], "3/6");
    }

    #[test]
    fn on_noise_the_objects_are_those_of_a_flood_and_no_object_matches_twice() {
        for (seed, share) in [(1, 20), (2, 40), (3, 60), (4, 80)] {
            let mut random = Stream::new(seed);
            let mut noise =
                || LabelMap::new(37, 53, (0..37 * 53).map(|_| u8::from(random.below(100) < share)).collect());
            let (a, b) = (noise(), noise());
            assert_eq!(objects(&a).areas(), flooded_areas(&a));
            let pairs = matches(&objects(&a), &objects(&b));
            for side in 0..2 {
                let mut matched: Vec<usize> = pairs.iter().map(|pair| pair[side]).collect();
                matched.sort_unstable();
                assert!(matched.windows(2).all(|two| two[0] != two[1]));
            }
            let own: Vec<[usize; 2]> = (0..objects(&a).count()).map(|i| [i, i]).collect();
            assert_eq!(matches(&objects(&a), &objects(&a)), own);
        }
    }

    /// The areas by another way: from each pixel not yet reached to all that can be reached from it.
    fn flooded_areas(labels: &LabelMap) -> Vec<u64> {
        let (height, width) = (labels.height(), labels.width());
        let mut left = labels.classes().to_vec();
        let mut areas = Vec::new();
        for first in 0..left.len() {
            let (mut area, mut open) = (0, vec![first]);
            while let Some(index) = open.pop() {
                if std::mem::take(&mut left[index]) == 1 {
                    area += 1;
                    let (y, x) = (index / width, index % width);
                    let rows = y.saturating_sub(1)..height.min(y + 2);
                    open.extend(rows.flat_map(|y| (x.saturating_sub(1)..width.min(x + 2)).map(move |x| y * width + x)));
                }
            }
            areas.extend((area > 0).then_some(area));
        }
        areas
    }
}
