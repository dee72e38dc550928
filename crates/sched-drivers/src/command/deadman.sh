# Ends a group of processes when nobody has said in time that it may go on.
#
# Arguments: seconds between two looks; looks between the request to end and the kill; looks that are left at first.
# Standard input, which must not block: lines of "LEFT GROUP BORN", the looks that are left from now on, the number of the
# group, and when its leader started, in ticks (0: not known).
# Standard output: a line just before the group is told to end.
#
# It counts its own looks. While the machine is suspended it makes none, and where all is slow it is slow, too.
look=$1 patience=$2 left=$3 group= born=0

# Whoever started this. One that may not be asked for counts as there; then silence alone tells.
parent=$PPID
kill -0 "$parent" || parent=$$

# Comes to the whole group of this, so the shell need not wait for its sleep.
trap exit TERM
# Nobody reads what is said when the parent is gone.
trap '' PIPE

# Whether the number still means that group. Its leader is the one that was told; or it has none left, and is of the
# session of this, as the tool was. A number is free only when its group is empty, too: then another group may have got it,
# have lost its leader, and be of this session, but hardly between two looks.
ours() {
    [ -n "$group" ] || return 1
    [ "$born" != 0 ] || return 0
    if stat=$(cat "/proc/$group/stat"); then
        # After the name, which may hold anything, the start is the 20th field.
        set -- ${stat##*) }
        [ "${20}" = "$born" ]
    # One that is there and hidden counts as that one.
    elif ! kill -0 "$group" && stat=$(cat "/proc/$$/stat"); then
        # There the group is the third and the session the fourth.
        set -- ${stat##*) }
        grep -qs ") [^ ]* [0-9]* $group $4 [^)]*\$" /proc/[0-9]*/stat
        # No is 1, or 2 when processes have gone meanwhile. More: there was no search.
        case $? in [12]) return 1 ;; esac
    fi
}

while [ "$left" -gt 0 ] && kill -0 "$parent"; do
    sleep "$look" || exit
    left=$((left - 1))
    while read -r told number start; do
        left=$told group=$number born=$start
    done
done

ours || exit
echo ended
kill -s TERM -- "-$group"
# A stopped process takes the first only after the second.
kill -s CONT -- "-$group"
while [ "$patience" -gt 0 ]; do
    sleep "$look" || break
    patience=$((patience - 1))
done
ours && kill -s KILL -- "-$group"
