# Stands in for Quartus Prime Pro's shells: runs the script that STUB_SCRIPT names with the arguments of STUB_ARGS. Each
# command does nothing but check that the files it is told of exist, and tell that it was called; reports are made up.
# STUB_FAIL names an executable that fails.

proc call {args} {
    puts "CALL [join $args]"
}

proc need {file} {
    if {![file isfile $file]} {
        error "no such file: $file"
    }
}

# The settings of a revision: its files by kind.
proc read_settings {revision} {
    global assignments
    need spiccato.qpf
    need $revision.qsf
    array unset assignments
    uplevel #0 [list source $revision.qsf]
}

proc set_global_assignment {flag name value} {
    global assignments
    if {$flag ne "-name"} {
        error "expected -name, not $flag"
    }
    if {[string match *_FILE $name] && $name ne "GENERATE_RBF_FILE"} {
        need $value
    }
    lappend assignments($name) $value
}

proc set_location_assignment {flag to pin} {
    call set_location_assignment $to $pin
}

proc set_instance_assignment {args} {
    # "-name NAME VALUE -to TARGET" or "-to TARGET -name NAME VALUE".
    set at [lsearch -exact $args -name]
    set to [lindex $args [expr {[lsearch -exact $args -to] + 1}]]
    call set_instance_assignment $to [lindex $args [expr {$at + 1}]] [lindex $args [expr {$at + 2}]]
}

proc qexec {command} {
    global env quartus
    call {*}$command
    if {[info exists env(STUB_FAIL)] && $env(STUB_FAIL) eq [lindex $command 0]} {
        error "child process exited abnormally"
    }
    set script [lsearch -exact $command -t]
    if {$script >= 0} {
        set quartus(args) [lrange $command [expr {$script + 2}] end]
        uplevel #0 [list source [lindex $command [expr {$script + 1}]]]
    } else {
        read_settings [lindex $command [expr {[lsearch -exact $command -c] + 1}]]
    }
}

proc load_package {name} {
    call load_package $name
}

proc project_open {project flag revision} {
    need $project.qpf
    read_settings $revision
}

proc load_report {revision} {
    call load_report $revision
}

proc create_timing_netlist {} {}
proc update_timing_netlist {} {}
proc delete_timing_netlist {} {}
proc unload_report {} {}
proc project_close {} {}

proc read_sdc {} {
    global assignments
    # Without an assignment, the file of the revision's name.
    set file [expr {[info exists assignments(SDC_FILE)] ? $assignments(SDC_FILE) : "bringup.sdc"}]
    need $file
    uplevel #0 [list source $file]
}

proc create_clock {args} {
    call create_clock {*}$args
}

proc get_ports {name} {
    return $name
}

proc get_available_operating_conditions {} {
    return {slow fast}
}

proc set_operating_conditions {name} {
    global corner
    set corner $name
}

proc foreach_in_collection {name collection body} {
    uplevel 1 [list foreach $name $collection $body]
}

proc get_timing_paths {check flag count} {
    global corner
    return [list "$check $corner"]
}

proc get_path_info {path flag} {
    array set slacks {{-setup slow} 0.125 {-setup fast} 0.900 {-hold slow} 0.050 {-hold fast} 0.011}
    return $slacks($path)
}

proc get_fitter_resource_usage {args} {
    if {$args eq "-alm"} {
        return "1,234 / 487,200 ( < 1 % )"
    }
    foreach {row cell} {
        "Dedicated logic registers" "5,678"
        "DSP Blocks Needed \[=A+B-C]" "90 / 4,510 ( 2 % )"
        "M20K blocks" "1,112 / 7,110 ( 16 % )"
    } {
        if {[string match [lindex $args 1] $row]} {
            return $cell
        }
    }
    error "no row [lindex $args 1]"
}

set quartus(args) $env(STUB_ARGS)
set quartus(version) "Version 24.1.0 Build 115 SC Pro Edition"
source $env(STUB_SCRIPT)
