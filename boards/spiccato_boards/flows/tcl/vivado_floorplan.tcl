# A hint for the placer: a Pblock for each core of the accelerator, in the super logic regions in turn, so that no core
# crosses from one to another. Soft: the placer may leave them. Read after synthesis, if settings.tcl says so.
#
# What of this has not been tried is told in Spiccato's docs/boards.md, "What was not tried".

set cores {}
for {set n 0} {[llength [set core [get_cells -quiet -hierarchical core_$n]]] == 1} {incr n} {
    lappend cores $core
}
if {$n == 0} {
    error "floorplan.tcl: no cell core_0"
}
# The device has those it has, by name: SLR0, SLR1 and so on.
set regions [lsort -dictionary [get_slrs]]
for {set n 0} {$n < [llength $cores]} {incr n} {
    create_pblock core_$n
    add_cells_to_pblock [get_pblocks core_$n] [lindex $cores $n]
    resize_pblock [get_pblocks core_$n] -add [lindex $regions [expr {$n * [llength $regions] / [llength $cores]}]]
    set_property IS_SOFT true [get_pblocks core_$n]
}
