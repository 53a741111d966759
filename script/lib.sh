# Shared by the scripts: progress lines, installing a Debian package where this user may, and where Postgres's programs are.

step() { printf '==> %s\n' "$*"; }
stop() { printf 'Cannot go on: %s\n' "$*" >&2; exit 1; }

# debian_packages WHY PACKAGE…: installs as root, says what to install otherwise.
debian_packages() {
    local why=$1; shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        stop "$why is missing. On Debian: sudo apt-get install $*"
    fi
    step "installing $* ($why)"
    [ -n "${apt_updated_for_tronch:-}" ] || { apt-get update -qq; export apt_updated_for_tronch=1; }
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

node_found() {
    local major
    major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
    [ "${major:-0}" -ge 20 ] && command -v npm >/dev/null
}

# Where script/setup-postgres puts npm's Postgres. As root not below the clone: Postgres then runs as another user, who
# may not pass through it. The server knows both places (server/src/local_postgres/programs.rs).
npm_postgres=target/postgres
[ "$(id -u)" != 0 ] || npm_postgres=/usr/local/lib/tronch/postgres

# find_postgres MAJOR…: sets pg_bin and pg_major to the first major that is here, the system's before npm's.
find_postgres() {
    local folder in_path=
    # A link in the PATH may point to a version that has been removed; then the shell does not find it.
    if command -v initdb >/dev/null; then in_path=$(dirname "$(realpath "$(command -v initdb)")"); fi
    for pg_major in "$@"; do
        for folder in "/usr/lib/postgresql/$pg_major/bin" "/usr/pgsql-$pg_major/bin" \
            "/usr/libexec/postgresql$pg_major" "/opt/homebrew/opt/postgresql@$pg_major/bin" \
            "/usr/local/opt/postgresql@$pg_major/bin" "$in_path" "$npm_postgres/$pg_major/bin"; do
            [ -n "$folder" ] && [ -x "$folder/initdb" ] && [ -x "$folder/pg_ctl" ] && [ -x "$folder/postgres" ] || continue
            [ "$folder" != "$in_path" ] || [ "$(postgres_major "$folder")" = "$pg_major" ] || continue
            pg_bin=$(realpath "$folder")
            return
        done
    done
    return 1
}

# postgres_major FOLDER: 15 for "initdb (PostgreSQL) 15.14 (Debian …)".
postgres_major() { "$1/initdb" --version | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p'; }
