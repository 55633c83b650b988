# install.sh - sourced by quickstart.sh and check.sh: `penstock_install SECTION...` installs what is missing
# of these sections of packages.txt. It asks nothing and changes nothing when all is there. penstock_root is
# the clone's folder, set by the script that sources this.

: "${penstock_root:?is set by the script that sources install.sh}"

# penstock_packages SECTION...: the lines of these sections.
penstock_packages()
{
    for section in "$@"; do
        sed -e 's/[[:space:]]*#.*//' "$penstock_root/deploy/packages.txt" |
            awk -v wanted="[$section]" '/^\[/ { here = $0 == wanted; next } here && NF { print $1 }'
    done | sort -u
}

penstock_installed()
{
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# penstock_missing SECTION...: the lines of which nothing is installed, as they stand.
penstock_missing()
{
    penstock_packages "$@" | while read -r line; do
        found=
        for name in $(echo "${line%\?}" | tr '|' ' '); do
            if penstock_installed "$name"; then found=yes; fi
        done
        if [ -z "$found" ]; then echo "$line"; fi
    done
}

# penstock_known LINE...: of each line the first name that apt knows; for `a?` perhaps none.
penstock_known()
{
    for line in "$@"; do
        known=
        for name in $(echo "${line%\?}" | tr '|' ' '); do
            if [ -z "$known" ] && apt-cache show "$name" >/dev/null 2>&1; then known=$name; fi
        done
        case $line in
        *\?) ;;
        *) known=${known:-${line%%|*}} ;;
        esac
        echo "$known"
    done
}

penstock_as_root()
{
    if [ "$(id -u)" = 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    else
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

penstock_install()
{
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        echo "penstock: this is no Debian system; it must have what deploy/packages.txt lists" >&2
        return 0
    fi
    missing=$(penstock_missing "$@")
    # shellcheck disable=SC2086 # one word a line
    names=$(penstock_known $missing | tr '\n' ' ')
    case $names in *[!\ ]*) ;; *) return 0 ;; esac
    if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null 2>&1; then
        echo "penstock: neither root nor sudo; ask for these packages: $names" >&2
        return 1
    fi
    echo "penstock: installs $names"
    log=$(mktemp) || return 1
    if ! penstock_as_root apt-get -q update >"$log" 2>&1; then
        tail -n 3 "$log" >&2 # what is cached may do; the next step says
    fi
    # shellcheck disable=SC2046,SC2086 # one argument a package; what apt knows may have changed
    if penstock_as_root apt-get -q -y --no-install-recommends install $(penstock_known $missing) \
        >"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    tail -n 15 "$log" >&2
    rm -f "$log"
    echo "penstock: could not install: $names" >&2
    echo "penstock: check the network and the package sources, or install them by hand; then run this again" >&2
    return 1
}
