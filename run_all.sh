#!/usr/bin/env bash
# ./run_all.sh [profile] [options]      run the notebooks of a profile (default: tiny), then print one table
# ./run_all.sh test [pytest options]    run the tests and the static checks
#
#   profile     smoke: as fast as can be · tiny: laptop scale · public: tiny with public data · h100 · h100_dry
#   --only S    this stage alone (02_qlora, or just 02); may be repeated
#   --from S    this stage and all after it
#   --to S      all stages up to this one
#   --domains L the domains of 10_modifiers: all, or such as math,science (default: those that the profile lists)
#   --jobs N    stages at a time (default 1; they share the cores)
#   --dry-run   print the plan, with the reason, minutes and dollars of each stage, and stop
#   --fresh     run the chosen stages even where nothing changed
#   --help      this text
#   -- ...      what follows goes to Snakemake, such as: -- --executor slurm
#
# The first start makes the environment: in the active conda or virtual environment, else in .venv. A stage runs again
# only if its parameters, code or inputs changed. Exit code: 0 done, 1 a stage or a required gate failed, 2 wrong request.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

refuse() {
    printf 'expected: %s\n   found: %s\n     why: %s\n     fix: %s\n' "$@" >&2
    exit 2
}

has_gpu() { [[ -e /proc/driver/nvidia/version ]] || command -v nvidia-smi >/dev/null; }

is_311() { "$1" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; }

is_ready() { # the stamps of the last set-up: a copy of the lock, and which checkout is installed
    [[ -x $python && $(cat "$env/.cogumi-root" 2>/dev/null) == "$PWD" ]] || return 1
    cmp -s requirements-cuda.lock "$env/.cogumi-lock" || { ! has_gpu && cmp -s requirements.lock "$env/.cogumi-lock"; }
}

find_python() { # a Python 3.11 to start from: the environment's own, else one on the PATH
    local name
    for name in "$python" python3.11 python3 python; do
        if command -v "$name" >/dev/null && is_311 "$name"; then echo "$name" && return; fi
        [[ $env == "$PWD/.venv" || $name != "$python" ]] || break # an active environment is used or refused
    done
    refuse "Python 3.11" "none in ${env/#"$PWD/.venv"/the PATH}" "the locks name files that were built for 3.11" \
        "conda env create -f environment.yml && conda activate cogumi (or install python3.11 with its venv module)"
}

choose_lock() { # sets lock and, where pip can get it, pins torch's CPU build
    local torch
    torch=$(sed -n 's/^torch==\([0-9.]*\).*/\1/p' requirements.lock)
    lock=requirements-cuda.lock pin=()
    if has_gpu; then
        echo "NVIDIA GPU found: PyTorch with CUDA, about 3 GB to download"
    elif [[ $(uname -s) == Darwin ]]; then
        lock=requirements.lock
    elif [[ $(uname -m) == x86_64 && $("$python" -m pip index versions torch 2>/dev/null) == *"$torch+cpu"* ]]; then
        lock=requirements.lock pin=(--constraint /dev/stdin) wanted="torch==$torch+cpu"
    else
        echo "pip finds no CPU build of torch $torch (add PyTorch's CPU index to its configuration): taking CUDA's, about 3 GB"
    fi
}

set_up() {
    local start base log="$env/cogumi-install.log" wanted=""
    base=$(find_python)
    if [[ ${1:-} != test ]]; then PYTHONPATH=. "$base" -m cogumi_utils.arguments "$@" || exit 2; fi
    command -v "${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null ||
        refuse "a C++ compiler" "none of c++, g++, clang++ on the PATH" "torch.compile and llama.cpp build code here" \
            "apt-get install g++ (Debian, Ubuntu) · xcode-select --install (macOS) · conda install cxx-compiler"
    [[ -x $python ]] || "$base" -m venv --clear "$env" ||
        refuse "a virtual environment in $env" "python -m venv failed (see above)" "packages are kept apart from the system's" \
            "install Python's venv module, such as: apt-get install python3.11-venv"
    choose_lock
    if ! cmp -s "$lock" "$env/.cogumi-lock"; then
        start=$SECONDS
        echo "installing $(grep -c == "$lock") packages from $lock into $env (once, some minutes; log: $log)"
        echo "llama.cpp among them is built here the first time, then taken from pip's cache"
        export CMAKE_ARGS="${CMAKE_ARGS:-$(llama_options)}"
        pip_install --require-hashes -r "$lock" ${pin[@]+"${pin[@]}"} <<<"$wanted"
        echo "installed in $((SECONDS - start)) s"
        command -v bwrap >/dev/null || [[ $(uname -s) != Linux ]] ||
            echo "note: bubblewrap is not installed; model-written code runs in sandlock instead"
    fi
    pip_install --no-deps --no-build-isolation --editable .
    cp "$lock" "$env/.cogumi-lock"
    echo "$PWD" >"$env/.cogumi-root"
}

llama_options() { # text models only, on the GPU where its compiler is at hand
    echo -DLLAVA_BUILD=OFF
    if has_gpu && command -v nvcc >/dev/null; then echo -DGGML_CUDA=ON; fi
}

pip_install() {
    "$python" -m pip install --no-input --disable-pip-version-check "$@" >"$log" 2>&1 && return
    tail -n 15 "$log" >&2
    refuse "pip to install $lock" "the error above (all of it: $log)" "each package is pinned and checked by its hash" \
        "mend what it says and start again: it goes on from here"
}

env=$PWD/.venv
if [[ -n ${VIRTUAL_ENV:-} ]]; then
    env=$VIRTUAL_ENV
elif [[ -n ${CONDA_PREFIX:-} && ${CONDA_DEFAULT_ENV:-base} != base ]]; then
    env=$CONDA_PREFIX
fi
python=$env/bin/python

case " $* " in *" --help "* | *" -h "*) [[ ${1:-} == test ]] || { sed -n '2,/^$/s/^# \{0,1\}//p' run_all.sh && exit; } ;; esac
is_ready || set_up "$@"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PATH=$env/bin:$PATH
if [[ ${1:-} == test ]]; then
    exec "$python" -m pytest -n 2 --dist loadfile "${@:2}"
fi
exec "$python" -m cogumi_utils.pipeline "$@"
