#!/bin/bash
# Measure latencies on another machine and bring them back:
#
#   scripts/measure_remote.sh USER@HOST CONFIG.yaml [section.key=value ...] [--paper] [--restart]
#
# The settings are those of hat-measure-latency. hat itself and the settings travel over ssh; nothing else is needed
# there than python3 with torch, numpy, pyyaml, pydantic, tqdm and safetensors. latency.csv and device.json come back
# into the folder that `output` names here, also after Ctrl-C or an error: the same command goes on where it ended.
#
#   SSH_OPTIONS          options of ssh, for example SSH_OPTIONS="-p 2222 -i ~/.ssh/pi"
#   HAT_REMOTE_PYTHON    the Python there; default: python3
#   HAT_REMOTE_FOLDER    the folder there; default: one below hat-measure in the home folder, named after `output`
#   HAT_PYTHON           the Python here, with hat's requirements; default: python3

set -uo pipefail

fail() { # one line, and the exit status of a mistake
    echo "measure_remote.sh: $*" >&2
    exit 2
}

quote() { # a word of a command for the shell there, whatever characters it has
    printf "'%s'" "${1//\'/\'\\\'\'}"
}

case ${1:-} in --help | -h)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
if [ $# -lt 2 ]; then
    fail "give a machine and settings: scripts/measure_remote.sh USER@HOST CONFIG.yaml [section.key=value ...]"
fi
host=$1 settings=() restart=
shift
for argument in "$@"; do
    case $argument in
    --restart) restart=--restart ;;
    --help | -h | --architecture* | --check* | --dry-run | --version) fail "$argument is for hat-measure-latency itself; run it there." ;;
    *) settings+=("$argument") ;;
    esac
done
python=${HAT_PYTHON:-python3}
root=$(cd "$(dirname "$0")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
work=$(mktemp -d /tmp/hat.XXXXXX)  # a short path: that of a socket may not be long
# One connection for all that follows: a password is asked for once.
read -r -a options <<<"${SSH_OPTIONS:-}"
options=(-o ControlMaster=auto -o ControlPersist=yes -o "ControlPath=$work/%C" ${options[@]+"${options[@]}"} -o ServerAliveInterval=30)
clean_up() {
    ssh "${options[@]}" -O exit -- "$host" 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

# The settings as they are here, complete and checked; paths that mean something here only are replaced.
mkdir "$work/upload"
"$python" -m hat.cli.measure_latency "${settings[@]}" --dry-run >"$work/settings.yaml" || exit $?
"$python" - "$work" <<'END' || exit 2
import shutil, sys
from pathlib import Path
import yaml

work = Path(sys.argv[1])
settings = yaml.safe_load((work / "settings.yaml").read_text(encoding="utf-8"))
(work / "output").write_text(settings["output"], encoding="utf-8")
if settings["anchor"] not in ("auto", "none"):
    try:
        shutil.copyfile(settings["anchor"], work / "upload" / "anchor.json")
    except OSError as error:
        sys.exit(f"measure_remote.sh: {settings['anchor']}: cannot be read as the anchor: {error.strerror}.")
    settings["anchor"] = ".hat/anchor.json"
settings["output"] = "latency"
(work / "upload" / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
END
output=$(cat "$work/output")
name=$(printf %s "$output" | tr -c 'A-Za-z0-9._-' _)
case $name in .*) name=_$name ;; esac # no folder above, and none that is hidden
folder=${HAT_REMOTE_FOLDER:-hat-measure/$name}
files=(measurements.jsonl latency.csv device.json config.yaml run.json metrics.jsonl)

# What lies here already must be of that machine. Where it was lost there, it goes back.
origin=$output/measured_on.txt
if { [ -e "$output/latency.csv" ] || [ -e "$output/measurements.jsonl" ]; } && [ "$(cat "$origin" 2>/dev/null)" != "$host:$folder" ]; then
    fail "$output: holds latencies that were not measured on $host in $folder; choose another output."
fi
if [ -e "$output/measurements.jsonl" ]; then
    mkdir "$work/upload/before"
    for file in "${files[@]}"; do
        [ -f "$output/$file" ] && cp "$output/$file" "$work/upload/before/"
    done
fi

cat >"$work/upload/run.sh" <<'END'
# Measures here, in the folder above this script's, until it is done or the connection ends.
cd "$(dirname "$0")/.." || exit 1
python=$1
shift
command -v "$python" >/dev/null || { echo "measure_remote.sh: there is no $python on that machine." >&2; exit 2; }
"$python" -c '
import importlib.util, sys
needed = {"torch": "torch", "numpy": "numpy", "yaml": "pyyaml", "pydantic": "pydantic", "tqdm": "tqdm",
          "safetensors": "safetensors"}
missing = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
if sys.version_info < (3, 10):
    sys.exit("measure_remote.sh: that machine needs Python 3.10 or later.")
if missing:
    sys.exit("measure_remote.sh: that machine needs, once: python3 -m pip install " + " ".join(missing))
' || exit 2
if [ -d .hat/before ] && [ ! -e latency/measurements.jsonl ]; then
    mkdir -p latency && cp .hat/before/* latency/
fi
PYTHONPATH=.hat "$python" -m hat.cli.measure_latency .hat/config.yaml "$@" </dev/null >/dev/null &
measuring=$!
echo "$measuring" >measuring.pid
trap 'kill -TERM "$measuring" 2>/dev/null' HUP INT TERM
# The input lasts as long as the connection. (A process in the background would be given none: hence 3.)
exec 3<&0
(cat <&3; kill -TERM "$measuring") >/dev/null 2>&1 &
wait "$measuring"
status=$?
while kill -0 "$measuring" 2>/dev/null; do # a wait ends with every signal, the measuring does not
    wait "$measuring"
    status=$?
done
rm -f measuring.pid
exit "$status"
END

# Everything that travels goes into .hat there: nothing else in that folder is ever removed.
there=$(quote "$folder")
# A number that is left over may be another process's by now; /proc, where there is one, tells.
running='pid=$(cat measuring.pid 2>/dev/null) && kill -0 "$pid" 2>/dev/null && { [ ! -e /proc/self/cmdline ] || grep -qa measure_latency "/proc/$pid/cmdline"; }'
unpack="if $running; then exit 9; fi; rm -rf .hat && mkdir .hat && tar -C .hat -xf -"
tar -C "$root" --exclude=__pycache__ -cf - hat -C "$work/upload" . |
    ssh "${options[@]}" -- "$host" "mkdir -p -- $there && cd -- $there && { $unpack; }"
case $? in
0) ;;
9) fail "$host: is still measuring in $folder (the process that measuring.pid names); wait for it." ;;
*) fail "$host: hat could not be copied there; try: ssh ${SSH_OPTIONS:-} $host" ;;
esac
mkdir -p "$output" && printf '%s\n' "$host:$folder" >"$origin" || fail "$output: must be a folder that can be written."

# In the background, so that a signal is heard at once; with an input that stays open until this script ends.
mkfifo "$work/open" && exec 9<>"$work/open"
stopped=
ssh "${options[@]}" -- "$host" "sh $there/.hat/run.sh $(quote "${HAT_REMOTE_PYTHON:-python3}") $restart" <&9 &
measuring=$!
trap 'stopped=1; kill "$measuring" 2>/dev/null' INT TERM HUP
wait "$measuring"
status=$?
while kill -0 "$measuring" 2>/dev/null; do
    wait "$measuring"
    status=$?
done
trap '' INT TERM HUP # what was measured comes back first
[ -n "$stopped" ] && status=130

mkdir "$work/back"
waiting="n=0; while [ \$n -lt 60 ] && $running; do sleep 1; n=\$((n + 1)); done"
ssh "${options[@]}" -- "$host" "cd -- $there && { $waiting; mkdir -p latency; tar -C latency -cf - .; }" </dev/null |
    tar -C "$work/back" -xf - ||
    fail "$host: the latencies could not be fetched; they are safe there, in $folder: run the same command again."
for file in "${files[@]}"; do
    if [ -f "$work/back/$file" ] && [ ! -L "$work/back/$file" ]; then
        cp "$work/back/$file" "$output/.$file.part" && mv -f "$output/.$file.part" "$output/$file" ||
            fail "$output/$file: cannot be written."
    fi
done
if [ "$status" = 0 ]; then
    echo "$output/latency.csv"
elif [ "$status" = 255 ]; then
    fail "$host: the connection was lost; what was measured is in $output, the same command goes on."
fi
exit "$status"
