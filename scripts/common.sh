# common.sh - what the scripts share; sourced from the repository's root.

# Configures a build directory, or lets meson check one that is there. $1: the directory; the rest: meson's options.
# A directory that meson cannot use any more (moved, or made by another version) is made anew.
configure()
{
    dir=$1
    shift
    if [ -f "$dir/build.ninja" ] && meson setup --reconfigure "$dir" "$@" >"$dir.log" 2>&1; then
        return 0
    fi
    rm -rf "$dir"
    mkdir -p "$(dirname "$dir")"
    meson setup "$dir" "$@" >"$dir.log" 2>&1 || {
        cat "$dir.log" >&2
        return 1
    }
}

# Builds quietly; on failure shows the compiler's words. $1: the directory; the rest: targets.
build()
{
    dir=$1
    shift
    ninja -C "$dir" "$@" >"$dir.log" 2>&1 || {
        cat "$dir.log" >&2
        return 1
    }
}
