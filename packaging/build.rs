//! Has the programs built anew when a text that they carry is changed, added or removed: the
//! folders are embedded by a macro, of which cargo sees only the files that were there before.

fn main() {
    for folder in ["profiles", "units", "bundle"] {
        println!("cargo::rerun-if-changed={folder}");
    }
}
