use super::*;

fn inputs(settings: u32) -> Inputs {
    Inputs::new().value("settings", &settings).unwrap().value("preset", &"small").unwrap()
}

/// Writes `content` to the stage's only file.
fn fill(content: &'static str, outcome: Outcome) -> impl FnOnce(&Workplace) -> Result<Outcome> {
    move |place| {
        let path = place.folder.join("result");
        fs::write(&path, content).map_err(Error::io("write", &path))?;
        Ok(outcome)
    }
}

fn refuse(_: &Workplace) -> Result<Outcome> {
    panic!("there is nothing to do");
}

fn state(out: &Path, inputs: &Inputs) -> State {
    Stages::of(out).standing("model", inputs).unwrap().state
}

fn content(out: &Path, folder: &str) -> String {
    fs::read_to_string(out.join(folder).join("result")).unwrap()
}

#[test]
fn a_stage_that_is_done_is_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/b");
    assert_eq!(state(&out, &inputs(1)), State::New);
    assert!(!out.exists(), "looking leaves nothing behind");
    let expected = Stages::of(&out).standing("model", &inputs(1)).unwrap().stamp;
    let made = Sitting::open(&out).unwrap().run("model", &inputs(1), fill("one", Outcome::Finished)).unwrap();
    assert_eq!(made, Some(expected));
    assert!(matches!(state(&out, &inputs(1)), State::Done { seconds } if seconds > 0.0));
    assert_eq!(Sitting::open(&out).unwrap().run("model", &inputs(1), refuse).unwrap(), made);
    assert_eq!(content(&out, "model"), "one");
}

#[test]
fn a_changed_input_does_the_stage_again_and_keeps_the_old_result() {
    let dir = tempfile::tempdir().unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    for (settings, content) in [(1, "one"), (2, "two"), (3, "three")] {
        sitting.run("model", &inputs(settings), fill(content, Outcome::Finished)).unwrap();
    }
    assert_eq!(["model", "model.old-1", "model.old-2"].map(|name| content(dir.path(), name)), ["three", "one", "two"]);
    let more = Inputs::new().value("settings", &4).unwrap().value("budget", &1).unwrap();
    let changed = ["budget", "preset", "settings"].map(String::from).to_vec();
    assert_eq!(sitting.stages().standing("model", &more).unwrap().state, State::Changed(changed));
}

#[test]
fn a_file_that_changed_is_seen_though_its_name_and_size_did_not() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("image.png");
    let of_image = || Inputs::new().files("labelled images", std::slice::from_ref(&image)).unwrap();
    fs::write(&image, "before").unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    sitting.run("model", &of_image(), fill("one", Outcome::Finished)).unwrap();
    fs::write(&image, "after!").unwrap();
    assert_eq!(state(dir.path(), &of_image()), State::Changed(vec!["labelled images".into()]));
}

#[test]
fn an_interrupted_stage_goes_on_in_its_folder_and_its_seconds_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    let seconds = |sitting: &Sitting| sitting.stages().record("model").unwrap().unwrap().seconds;
    assert_eq!(sitting.run("model", &inputs(1), fill("half", Outcome::Stopped)).unwrap(), None);
    let first = seconds(&sitting);
    let failed = sitting.run("model", &inputs(1), |place| {
        assert_eq!((place.start, &place.set_aside), (Start::Resume, &None));
        assert_eq!(content(dir.path(), "model"), "half");
        std::thread::sleep(std::time::Duration::from_millis(20));
        Err(Error::Config("the disk is full".into()))
    });
    assert_eq!(failed.unwrap_err().to_string(), "the disk is full");
    assert_eq!(state(dir.path(), &inputs(1)), State::Interrupted);
    let second = seconds(&sitting);
    assert!(second >= first + 0.02);
    sitting.run("model", &inputs(1), fill("whole", Outcome::Finished)).unwrap();
    let third = seconds(&sitting);
    assert!(third > second && third < second + 10.0);
    assert_eq!(state(dir.path(), &inputs(1)), State::Done { seconds: third });
    assert_eq!(content(dir.path(), "model"), "whole");
}

#[test]
fn an_interrupted_stage_with_other_inputs_is_not_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    sitting.run("model", &inputs(1), fill("half", Outcome::Stopped)).unwrap();
    let work = |place: &Workplace| {
        let aside = dir.path().join("model.old-1");
        assert_eq!((place.start, &place.set_aside), (Start::New, &Some(aside)));
        assert_eq!(fs::read_dir(&place.folder).unwrap().count(), 0);
        Ok(Outcome::Finished)
    };
    assert!(sitting.run("model", &inputs(2), work).unwrap().is_some());
    assert_eq!(content(dir.path(), "model.old-1"), "half");
}

#[test]
fn a_stage_whose_folder_was_deleted_is_done_again_and_so_is_what_was_made_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    let translated = |stamp: &Stamp| Inputs::new().stage("translator", stamp);
    let first = sitting.run("translator", &inputs(1), |_| Ok(Outcome::Finished)).unwrap().unwrap();
    sitting.run("model", &translated(&first), |_| Ok(Outcome::Finished)).unwrap();
    assert!(matches!(state(dir.path(), &translated(&first)), State::Done { .. }));
    fs::remove_dir(dir.path().join("translator")).unwrap();
    let planned = sitting.stages().standing("translator", &inputs(1)).unwrap();
    assert_eq!(planned.state, State::New);
    assert_eq!(state(dir.path(), &translated(&planned.stamp)), State::Changed(vec!["translator".into()]));
    let again = sitting.run("translator", &inputs(1), fill("again", Outcome::Finished)).unwrap();
    assert_eq!((again, content(dir.path(), "translator")), (Some(planned.stamp), "again".into()));
}

#[test]
fn a_folder_without_a_record_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("model")).unwrap();
    fs::write(dir.path().join("model/result"), "mine").unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    assert_eq!(state(dir.path(), &inputs(1)), State::New);
    sitting.run("model", &inputs(1), fill("new", Outcome::Finished)).unwrap();
    assert_eq!(["model", "model.old-1"].map(|name| content(dir.path(), name)), ["new", "mine"]);
}

#[test]
fn a_crash_before_the_work_begins_leaves_a_new_stage_and_the_old_result_aside() {
    let dir = tempfile::tempdir().unwrap();
    let mut sitting = Sitting::open(dir.path()).unwrap();
    sitting.run("model", &inputs(1), fill("old", Outcome::Finished)).unwrap();
    let (_, record) = sitting.stages().look_up("model", &inputs(2)).unwrap();
    sitting.stages().set_aside("model").unwrap();
    assert_eq!(state(dir.path(), &inputs(2)), State::New);
    write_json(&sitting.stages().record_path("model"), &record).unwrap();
    assert_eq!(state(dir.path(), &inputs(2)), State::New);
    assert_eq!(content(dir.path(), "model.old-1"), "old");
}

#[test]
fn a_damaged_record_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stages/model.json");
    drop(Sitting::open(dir.path()).unwrap());
    fs::write(&path, "{\"version\":").unwrap();
    let error = Stages::of(dir.path()).standing("model", &inputs(1)).unwrap_err().to_string();
    assert!(error.contains("model.json") && error.ends_with("delete it to do the stage \"model\" again"), "{error}");
}

#[test]
fn two_sittings_do_not_work_in_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    let sitting = Sitting::open(dir.path()).unwrap();
    let error = Sitting::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("another synlabel works in it; wait"), "{error}");
    assert_eq!(state(dir.path(), &inputs(1)), State::New);
    drop(sitting);
    Sitting::open(dir.path()).unwrap();
}

#[test]
#[should_panic(expected = "cannot name a stage")]
fn a_stage_has_a_folder_of_its_own_below_the_pipelines() {
    let dir = tempfile::tempdir().unwrap();
    let _ = Sitting::open(dir.path()).unwrap().run("../model", &inputs(1), refuse);
}
