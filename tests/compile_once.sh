#!/bin/sh
# OBJCACHE of Verilator's makefiles, called with a compiler's command that ends with the source: the
# runtime library, which is most of a small bench, is compiled once and kept in $RUNTIME_OBJECTS.
set -e
object=
for word; do
    [ "$last" = -o ] && object=$word
    last=$word
done
case $last in
*/include/verilated*.cpp) ;;
*) exec "$@" ;;
esac
made_from=$({ echo "$@"; "$1" --version; cat "${last%/*}"/*.h "$last"; } | sha256sum)
kept=$RUNTIME_OBJECTS/${made_from%% *}.o
if [ ! -e "$kept" ]; then
    mkdir -p "$RUNTIME_OBJECTS"
    "$@"
    cp "$object" "$kept.$$"
    mv "$kept.$$" "$kept"
fi
cp "$kept" "$object"
