//! Turns the tables of YAML that are compiled in into JSON, which a program reads some twenty times as
//! fast when it starts. A table that is no YAML ends the build with its line and column.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut tables = vec![
        PathBuf::from("src/hardware/gpus.yaml"),
        PathBuf::from("src/model/known.yaml"),
    ];
    let families = Path::new("src/model/families");
    for entry in fs::read_dir(families)? {
        tables.push(entry?.path());
    }
    println!("cargo::rerun-if-changed={}", families.display());
    for table in tables {
        println!("cargo::rerun-if-changed={}", table.display());
        let text = fs::read_to_string(&table)?;
        let value: serde_json::Value =
            serde_yaml::from_str(&text).map_err(|error| format!("{}: {error}", table.display()))?;
        let name = table.file_name().ok_or("a table has a name")?;
        let json = out.join(name).with_extension("json");
        fs::write(json, serde_json::to_string(&value)?)?;
    }
    Ok(())
}
