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

# penstock_missing SECTION...: what is not installed; of `a|b`, every name is printed as it stands.
penstock_missing()
{
    penstock_packages "$@" | while read -r names; do
        found=
        for name in $(echo "$names" | tr '|' ' '); do
            if penstock_installed "$name"; then found=yes; fi
        done
        if [ -z "$found" ]; then echo "$names"; fi
    done
}

# As root, through sudo where we are not.
penstock_as_root()
{
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        echo "penstock: these packages are missing and you are neither root nor have sudo; ask for:" >&2
        echo "$penstock_wanted" | tr '|' '\n' | sed 's/^/  /' >&2
        return 1
    fi
}

# The name that apt knows, of those in `a|b`.
penstock_known_name()
{
    for name in $(echo "$1" | tr '|' ' '); do
        if apt-cache show "$name" >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo "${1%%|*}"
}

penstock_install()
{
    if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
        echo "penstock: this is no Debian system; it must have what deploy/packages.txt lists" >&2
        return 0
    fi
    penstock_wanted=$(penstock_missing "$@")
    if [ -z "$penstock_wanted" ]; then return 0; fi
    echo "penstock: installs $(echo "$penstock_wanted" | tr '\n' ' ')"
    log=$(mktemp) || return 1
    if ! penstock_as_root apt-get -q update >"$log" 2>&1; then
        cat "$log" >&2 # it may still work from what is cached; the next step says
    fi
    names=
    for wanted in $penstock_wanted; do
        names="$names $(penstock_known_name "$wanted")"
    done
    # shellcheck disable=SC2086 # one argument a package
    if DEBIAN_FRONTEND=noninteractive penstock_as_root apt-get -q -y --no-install-recommends install $names \
        >"$log" 2>&1; then
        rm -f "$log"
        return 0
    fi
    tail -n 15 "$log" >&2
    rm -f "$log"
    echo "penstock: could not install:$names" >&2
    echo "penstock: check the network and the package sources, or install them by hand; then run this again" >&2
    return 1
}
