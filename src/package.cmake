# SPDX-License-Identifier: Apache-2.0
# What `cpack` makes of what is installed: the packages libclattn0.1, libclattn-dev and clattn for Debian and its like,
# and one archive of all, which runs wherever it is unpacked. `cmake --workflow --preset package` builds both.
set(CPACK_GENERATOR TGZ)
find_program(CLATTN_DPKG dpkg)
mark_as_advanced(CLATTN_DPKG)
if(CLATTN_DPKG)
    list(APPEND CPACK_GENERATOR DEB)
endif()
set(CPACK_PACKAGE_VENDOR "The authors of clattn")
set(CPACK_PACKAGE_CONTACT "The authors of clattn <clattn@clattn.invalid>" CACHE STRING
    "Who answers for the packages: a name and an address")
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_COMPONENTS_ALL library development)
if(TARGET clattn_tool)
    list(APPEND CPACK_COMPONENTS_ALL tool)
endif()

# ---- Debian ----

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${PROJECT_BINARY_DIR}) # where the tool's library is
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_ENABLE_COMPONENT_DEPENDS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_COMPONENT_DEVELOPMENT_DEPENDS library)
set(CPACK_COMPONENT_TOOL_DEPENDS library)
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "") # would come before the first line of each
set(about "It enqueues attention on an OpenCL context, queue and buffers that a program
already has, or computes it on host arrays in one call.")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libclattn${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_RECOMMENDS "pocl-opencl-icd | opencl-icd")
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "attention on any OpenCL device\n${about}")
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libclattn-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "opencl-c-headers | opencl-headers, ocl-icd-opencl-dev")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "attention on any OpenCL device: for development\n${about}

This package has the headers and what CMake and pkg-config read.")
set(CPACK_DEBIAN_TOOL_PACKAGE_NAME clattn)
set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION science)
set(CPACK_DEBIAN_TOOL_DESCRIPTION "attention on any OpenCL device: the command-line tool
It lists the OpenCL devices of a machine and whether they are usable, computes
attention on arrays that NumPy saved, measures it, and draws the weights.")

# The loader's cache is renewed by a trigger.
file(WRITE ${PROJECT_BINARY_DIR}/package/triggers "activate-noawait ldconfig\n")
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA ${PROJECT_BINARY_DIR}/package/triggers)

set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/src/package_debian.cmake)
include(CPack)
