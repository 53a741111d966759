# Shared by the scripts: progress lines, and installing a Debian package where this user may.

step() { printf '==> %s\n' "$*"; }
stop() { printf 'Cannot go on: %s\n' "$*" >&2; exit 1; }

# debian_packages WHY PACKAGE…: installs as root, says what to install otherwise.
debian_packages() {
    local why=$1; shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        stop "$why is missing. On Debian: sudo apt-get install $*"
    fi
    step "installing $* ($why)"
    [ -n "${TRONCH_APT_UPDATED:-}" ] || { apt-get update -qq; export TRONCH_APT_UPDATED=1; }
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
