# Writes what a compilation reached as result_<target>.json; sourced by the scripts of this folder after settings.tcl.
# The schema is documented, and read back, by spiccato_boards.results.

# The first number in a cell of a report ("3,744 / 4,510 ( 83 % )"), without commas; empty if there is none.
proc first_number {text} {
    if {![regexp {[-+]?[0-9][0-9,]*(\.[0-9]+)?} $text number]} {
        return ""
    }
    return [string map {, ""} $number]
}

proc json_string {text} {
    return "\"[string map {\\ \\\\ \" \\\" \n \\n \t \\t} $text]\""
}

# A number, or null for an empty one.
proc json_number {number} {
    return [expr {$number eq "" ? "null" : $number}]
}

# Members of an object, one a line: names and values in turn; the values are JSON already.
proc json_object {indent members} {
    set lines {}
    foreach {name value} $members {
        lappend lines "$indent  \"$name\": $value"
    }
    return "{\n[join $lines ",\n"]\n$indent}"
}

# target: what was compiled; setup, hold: worst slack in ns, empty if no path was timed; resources: logic, registers
# and dsp with their counts in turn; memory: kinds with their counts in turn. A count that no report tells is empty.
proc write_result {target tool_version setup hold resources memory} {
    global board part configuration digest tool target_mhz period_ns
    set fmax ""
    set met false
    if {$setup ne ""} {
        set fmax [format %.3f [expr {1000.0 / ($period_ns($target) - $setup)}]]
        set met [expr {$setup >= 0 && ($hold eq "" || $hold >= 0) ? "true" : "false"}]
    }
    set counts {}
    foreach {name count} $resources {
        lappend counts $name [json_number $count]
    }
    set kinds {}
    foreach {name count} $memory {
        lappend kinds $name [json_number $count]
    }
    lappend counts memory [json_object "    " $kinds]
    set clock [list target_mhz $target_mhz($target) period_ns $period_ns($target) \
        setup_slack_ns [json_number $setup] hold_slack_ns [json_number $hold] \
        fmax_mhz [json_number $fmax] met $met]
    set members [list schema 1 board [json_string $board] part [json_string $part] \
        configuration [json_string $configuration] digest [json_string $digest] \
        tool [json_string $tool] tool_version [json_string $tool_version] target [json_string $target] \
        clock [json_object "  " $clock] resources [json_object "  " $counts]]
    set file [open "result_$target.json" w]
    puts $file [json_object "" $members]
    close $file
    puts "result_$target.json: [expr {$met ? "timing met" : "timing NOT met"}], $fmax MHz"
}
