# Ends a group of processes when nobody has said in time that it may go on.
#
# Arguments: seconds between two looks; looks between the request to end and the kill; looks that are left at first.
# Standard input, which must not block: lines of "LEFT GROUP BORN", the looks that are left from now on, the number of the
# group, and when its leader started, in ticks (0: not known).
#
# It counts its own looks. While the machine is suspended it makes none, and where all is slow it is slow, too.
look=$1 patience=$2 left=$3 group= born=0

# Whoever started this. One that may not be asked for counts as there; then silence alone tells.
parent=$PPID
kill -0 "$parent" || parent=$$

# Comes to the whole group of this, so the shell need not wait for its sleep.
trap exit TERM

# Whether the number still means that group: its leader is the one that was told, or nobody has that number, so that no
# other group can have been made under it.
ours() {
    [ -n "$group" ] || return 1
    [ "$born" != 0 ] && stat=$(cat "/proc/$group/stat") || return 0
    # After the name, which may hold anything, the start is the 20th field.
    set -- ${stat##*) }
    [ "${20}" = "$born" ]
}

while [ "$left" -gt 0 ] && kill -0 "$parent"; do
    sleep "$look" || exit
    left=$((left - 1))
    while read -r told number start; do
        left=$told group=$number born=$start
    done
done

ours || exit
kill -s TERM -- "-$group"
# A stopped process takes the first only after the second.
kill -s CONT -- "-$group"
while [ "$patience" -gt 0 ]; do
    sleep "$look" || break
    patience=$((patience - 1))
done
ours && kill -s KILL -- "-$group"
