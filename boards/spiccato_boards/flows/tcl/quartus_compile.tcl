# Compiles one target of this project with Quartus Prime Pro and writes result_<target>.json:
#
#   quartus_sh -t compile.tcl ?target?
#
# The targets, which are the revisions of the project, are listed in settings.tcl; the first is the default.
# What of this has not been tried is told in Spiccato's docs/boards.md, "What was not tried".

cd [file dirname [file normalize [info script]]]
source settings.tcl

set target [lindex $targets 0]
if {[llength $quartus(args)] > 0} {
    set target [lindex $quartus(args) 0]
}
if {$target ni $targets} {
    puts stderr "compile.tcl: unknown target \"$target\"; known: $targets"
    exit 2
}

set settings "--read_settings_files=on --write_settings_files=off"
set commands [list "quartus_syn $settings spiccato -c $target" "quartus_fit $settings spiccato -c $target"]
# Only what has real pins makes a configuration file.
if {$target in $targets_with_pins} {
    lappend commands "quartus_asm $settings spiccato -c $target"
}
lappend commands "quartus_sta spiccato -c $target" "quartus_sta -t report.tcl $target"

foreach command $commands {
    if {[catch {qexec $command} message]} {
        puts stderr "compile.tcl: $command: $message"
        exit 1
    }
}
