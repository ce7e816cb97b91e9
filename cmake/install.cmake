# What `cmake --install` lays down: the public headers, the libraries with a CMake package
# (find_package(ruvllm) gives ruvllm::ruvllm), the command, and the demo model.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

add_library(ruvllm_library INTERFACE)
target_link_libraries(ruvllm_library INTERFACE ruvllm_engine)
set_target_properties(ruvllm_library PROPERTIES EXPORT_NAME ruvllm)
add_library(ruvllm::ruvllm ALIAS ruvllm_library)

get_property(modules GLOBAL PROPERTY RUVLLM_MODULES)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/ruvllm)
install(TARGETS ruvllm_library ruvllm_api ${modules} EXPORT ruvllm_targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/ruvllm)
install(EXPORT ruvllm_targets NAMESPACE ruvllm:: DESTINATION ${package_dir})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ruvllm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/ruvllmConfig.cmake.in
  ${PROJECT_BINARY_DIR}/ruvllmConfig.cmake INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/ruvllmConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/ruvllmConfig.cmake ${PROJECT_BINARY_DIR}/ruvllmConfigVersion.cmake
        DESTINATION ${package_dir})
if(TARGET ruvllm)
  install(TARGETS ruvllm RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
if(EXISTS ${PROJECT_SOURCE_DIR}/models/demo/config.json)
  file(GLOB demo_folders ${PROJECT_SOURCE_DIR}/models/demo ${PROJECT_SOURCE_DIR}/models/demo-*)
  install(DIRECTORY ${demo_folders} DESTINATION ${CMAKE_INSTALL_DATADIR}/ruvllm/models)
endif()
