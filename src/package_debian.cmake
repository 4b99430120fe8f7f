# SPDX-License-Identifier: Apache-2.0
# Before CPack packs: what Debian's packages have besides what is installed elsewhere, and in its form.
if(NOT CPACK_GENERATOR STREQUAL DEB)
    return()
endif()

string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
foreach(component IN LISTS CPACK_COMPONENTS_ALL)
    string(TOUPPER ${component} upper)
    set(tree ${CPACK_TEMPORARY_DIRECTORY}/${component}/usr)
    set(doc ${tree}/share/doc/${CPACK_DEBIAN_${upper}_PACKAGE_NAME})
    file(WRITE ${doc}/copyright "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: clattn

Files: *
Copyright: 2026 the authors of clattn
License: Apache-2.0
 On Debian systems, the text of the licence is in
 /usr/share/common-licenses/Apache-2.0
")
    file(WRITE ${doc}/changelog "clattn (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium

  * CHANGELOG.md of the sources says what is new.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
    file(GLOB pages ${tree}/share/man/man*/*.[0-9])
    execute_process(COMMAND gzip -9n ${doc}/changelog ${pages} COMMAND_ERROR_IS_FATAL ANY)

    # Debian's zsh looks elsewhere for what packages bring.
    if(EXISTS ${tree}/share/zsh/site-functions)
        file(RENAME ${tree}/share/zsh/site-functions ${tree}/share/zsh/vendor-completions)
    endif()

    # The loader looks where the library is.
    file(GLOB programs ${tree}/bin/*)
    foreach(program IN LISTS programs)
        file(RPATH_REMOVE FILE ${program})
    endforeach()
endforeach()
