//! Where CUDA's libraries are looked for.
//!
//! A library opened by its absolute path is afterwards found by its bare name too, by every later caller in the process.
//! So the program looks in the usual places itself, and nobody has to set `LD_LIBRARY_PATH` before the start.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Folders to look in, and whether the system's loader is asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Folders, first match wins.
    pub folders: Vec<PathBuf>,
    /// Whether a bare name is tried last, which finds what the system's loader is configured for.
    pub system: bool,
}

/// What the search reads from the environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `RESNET_CUDA_LIBRARIES`: folders to look in before all others, as in `PATH`. A folder may also be the `nvidia` folder
    /// of a Python environment.
    pub libraries: Vec<PathBuf>,
    /// `CUDA_PATH`: the CUDA toolkit.
    pub cuda_path: Option<PathBuf>,
    /// `VIRTUAL_ENV`: the activated Python environment.
    pub virtual_env: Option<PathBuf>,
    /// `CONDA_PREFIX`: the activated conda environment.
    pub conda_prefix: Option<PathBuf>,
    /// `PATH`, whose first `python3` names one more Python installation.
    pub path: Vec<PathBuf>,
}

impl Environment {
    /// Reads the process's environment.
    pub fn of_process() -> Self {
        let dir = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let list = |name: &str| std::env::var_os(name).map(|p| std::env::split_paths(&p).collect());
        Environment {
            libraries: list("RESNET_CUDA_LIBRARIES").unwrap_or_default(),
            cuda_path: dir("CUDA_PATH"),
            virtual_env: dir("VIRTUAL_ENV"),
            conda_prefix: dir("CONDA_PREFIX"),
            path: list("PATH").unwrap_or_default(),
        }
    }
}

impl Search {
    /// The usual places: folders that are named, the toolkit in `CUDA_PATH`, `/usr/local/cuda`, NVIDIA's wheels in the Python environment, the system's loader.
    pub fn usual(env: &Environment) -> Self {
        let mut folders = env.libraries.clone();
        for named in &env.libraries {
            folders.extend(entries(named, |_| true).into_iter().map(|wheel| wheel.join("lib")));
        }
        for toolkit in env.cuda_path.iter().map(PathBuf::as_path).chain([Path::new("/usr/local/cuda")]) {
            folders.extend([toolkit.join("lib64"), toolkit.join("lib")]);
        }
        let on_path = env.path.iter().find(|dir| dir.join("python3").exists()).and_then(|dir| dir.parent());
        let prefixes = [env.virtual_env.as_deref(), env.conda_prefix.as_deref(), on_path];
        for prefix in prefixes.into_iter().flatten() {
            folders.extend(wheel_folders(prefix));
        }
        let mut seen = Vec::new();
        folders.retain(|folder| {
            folder.is_dir() && !seen.contains(folder) && (seen.push(folder.clone()), true).1
        });
        Search { folders, system: true }
    }

    /// Every path and name worth trying for the given file names, in order.
    /// Files in folders are listed only where they exist; bare names are the loader's to judge.
    pub fn candidates(&self, file_names: &[&str]) -> Vec<PathBuf> {
        let in_folders =
            self.folders.iter().flat_map(|folder| file_names.iter().map(|name| folder.join(name)));
        let bare = file_names.iter().filter(|_| self.system).map(PathBuf::from);
        in_folders.filter(|path| path.exists()).chain(bare).collect()
    }

    /// What [`Search::candidates`] looked at, for a message: folders as they are, bare names last.
    pub fn places(&self, file_names: &[&str]) -> Vec<PathBuf> {
        let bare = file_names.iter().filter(|_| self.system).map(PathBuf::from);
        self.folders.iter().cloned().chain(bare).collect()
    }
}

/// `PREFIX/lib/python3*/{site,dist}-packages/nvidia/*/lib`, where NVIDIA's wheels put their libraries.
fn wheel_folders(prefix: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for python in entries(&prefix.join("lib"), |name| name.starts_with("python3")) {
        for packages in ["site-packages", "dist-packages"] {
            let wheels = entries(&python.join(packages).join("nvidia"), |_| true);
            folders.extend(wheels.into_iter().map(|wheel| wheel.join("lib")));
        }
    }
    folders
}

/// Entries of a folder whose name is wanted, sorted so that the order does not depend on the file system.
fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(listing) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.file_name().and_then(OsStr::to_str).is_some_and(&wanted));
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: PathBuf) -> PathBuf {
        std::fs::create_dir_all(path.parent().expect("has a parent")).expect("created");
        std::fs::write(&path, "").expect("written");
        path
    }

    #[test]
    fn toolkit_before_wheels_before_the_loader() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let toolkit = touch(dir.path().join("toolkit/lib64/libnvrtc.so.13"));
        let wheel =
            touch(dir.path().join("venv/lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13"));
        let env = Environment {
            cuda_path: Some(dir.path().join("toolkit")),
            virtual_env: Some(dir.path().join("venv")),
            ..Environment::default()
        };
        let mut found = Search::usual(&env).candidates(&["libnvrtc.so.13"]);
        found.retain(|path| !path.starts_with("/usr/local")); // the machine's own toolkit, if it has one
        assert_eq!(found, [toolkit, wheel, PathBuf::from("libnvrtc.so.13")]);
    }

    #[test]
    fn python_on_the_path_names_an_installation_once() {
        let dir = tempfile::tempdir().expect("temporary folder");
        touch(dir.path().join("bin/python3"));
        let lib = touch(dir.path().join("lib/python3.11/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"));
        let env = Environment {
            virtual_env: Some(dir.path().to_owned()),
            path: vec![dir.path().join("nothing"), dir.path().join("bin")],
            ..Environment::default()
        };
        let search = Search { system: false, ..Search::usual(&env) };
        assert_eq!(search.candidates(&["libnvrtc.so.12"]), [lib]);
        assert!(search.places(&["libnvrtc.so.12"]).iter().all(|place| place.is_absolute()));
    }
}
