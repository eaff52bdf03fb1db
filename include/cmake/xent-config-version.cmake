# The version is that of the header. Below 1.0, a new minor version is as incompatible as a new major
# one later.
set(_xent_prefix "${CMAKE_CURRENT_LIST_DIR}")
while(NOT EXISTS "${_xent_prefix}/include/xent.h" AND NOT _xent_prefix STREQUAL _xent_child)
  set(_xent_child "${_xent_prefix}")
  get_filename_component(_xent_prefix "${_xent_prefix}" DIRECTORY)
endwhile()
foreach(_xent_part MAJOR MINOR PATCH)
  file(STRINGS "${_xent_prefix}/include/xent.h" _xent_line
       REGEX "^#define XENT_VERSION_${_xent_part} [0-9]+$")
  string(REGEX MATCH "[0-9]+$" _xent_${_xent_part} "${_xent_line}")
endforeach()
set(PACKAGE_VERSION "${_xent_MAJOR}.${_xent_MINOR}.${_xent_PATCH}")

set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(PACKAGE_FIND_VERSION VERSION_LESS_EQUAL PACKAGE_VERSION
   AND PACKAGE_FIND_VERSION_MAJOR EQUAL _xent_MAJOR
   AND (_xent_MAJOR GREATER 0 OR PACKAGE_FIND_VERSION_MINOR EQUAL _xent_MINOR))
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_FIND_VERSION VERSION_EQUAL PACKAGE_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
