//! Images above the size from which on they are translated in blocks, driven from outside.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Lab, succeeds};
use assert_cmd::cargo::cargo_bin;
use synlabel::imaging::{self, BitDepth, Plane};

/// Just above 2^22 pixels, at a twentieth of the networks' pixel size so that it is quick: two groups of blocks.
fn lab() -> Lab {
    let lab = Lab::new();
    let size = ["--labelled-pixel-size-um", "0.2", "--target-pixel-size-um", "0.2", "--pixel-size-um", "0.2"];
    succeeds(lab.train("run", &size));
    let image = Plane::from_fn(420, 10_100, |y, x| ((3 * y + 7 * x) % 1009) as f32 / 1100.0);
    imaging::write(&lab.path("slide.tif"), &image, BitDepth::Sixteen, Some(0.01)).unwrap();
    lab
}

const TRANSLATE: [&str; 8] = ["translate", "-m", "run", "-i", "slide.tif", "--to", "target", "-o"];

fn result(lab: &Lab, folder: &str) -> Vec<u8> {
    let folder = lab.path(folder);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["slide.tif"], "blocks are gone when the image is there");
    fs::read(folder.join("slide.tif")).unwrap()
}

#[test]
fn a_large_image_is_the_same_in_one_go_and_by_two_shares_and_after_a_stop() {
    let lab = lab();
    let translate = |further: &[&str]| succeeds(lab.run(&[&TRANSLATE, further].concat()));
    translate(&["whole"]);
    for share in ["1/2", "2/2"] {
        let told = translate(&["shares", "--shard", share]);
        assert!(told.contains("give the command without --shard"), "{told}");
        assert!(!lab.path("shares/slide.tif").exists());
    }
    translate(&["shares"]);
    assert!(result(&lab, "whole") == result(&lab, "shares"));

    interrupt_after_the_first_block(&lab, "stopped");
    translate(&["stopped"]);
    assert!(result(&lab, "whole") == result(&lab, "stopped"));
}

/// Ctrl-C, as soon as a block is there.
fn interrupt_after_the_first_block(lab: &Lab, folder: &str) {
    let mut command = Command::new(cargo_bin("synlabel"));
    command.current_dir(lab.folder.path()).args(TRANSLATE).arg(folder);
    let mut child: Child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let first = lab.path(folder).join("slide.tif.blocks/000000.tif");
    while !first.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    if cfg!(unix) {
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
    let told = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    if cfg!(unix) {
        assert!(told.contains("stopped; blocks that are made are kept"), "{told}");
        assert!(first.exists() && !lab.path(folder).join("slide.tif").exists());
    }
}
